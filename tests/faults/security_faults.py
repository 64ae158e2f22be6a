"""What an attacker may put into files: nothing of it runs, leads elsewhere, or is believed.

Each attack is made on a copy of a run folder. It is survived when it is refused with an error of
ours (or has no effect, where the file is none that is read), its code did not run, and nothing
outside the folder was touched. An audit hook watches the interpreter meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from dreamer_envs.errors import EnvsError
from dreamer_plugin import config
from dreamer_plugin.doors.api import Dreamer
from dreamer_plugin.doors.dialects.weights import read_weights
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.weights import read_official
from dreamer_plugin.run import checkpoint, machine
from dreamer_plugin.run.evaluate import evaluate_run
from tests.faults import small

SECRET = "hunter2-hunter2"
_seen: list[str] = []  # by the audit hook, while it looks
# The one program that training starts: git, for the commit of the folder that this package is in.
_OWN_COMMIT = ["git", "-C", str(Path(machine.__file__).parent)]
_looking = [False]


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


class Bomb:
    """Unpickled, it makes a directory named `canary`."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def run(given: argparse.Namespace) -> list[dict]:
    """One row for each family of attacks."""
    _watch()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = small.small_run(folder, name="base").run_dir
        for family, attacks in FAMILIES.items():
            survived = 0
            for number, (name, attack) in enumerate(attacks.items()):
                own = folder / f"{family.replace(' ', '-')}-{number}"
                good = _attempt(own, base, attack)
                survived += good
                if not good:
                    print(f"not survived: {family}: {name}")
            rows.append(small.row(f"security: {family}", len(attacks), survived))
        rows.append(_quiet_training(folder))
        rows.append(_secrets(folder))
    return rows


def _attempt(own: Path, base: Path, attack: Callable[[Path, Path], bool]) -> bool:
    """Whether one attack comes to nothing."""
    own.mkdir()
    run, canary = Path(shutil.copytree(base, own / "run")), own / "canary"
    (own / "outside").mkdir()
    (own / "outside" / "precious.txt").write_text("mine")
    with _looked() as seen:
        refused = attack(run, canary)
    outside = [path.name for path in (own / "outside").iterdir()]
    kept = (own / "outside" / "precious.txt").read_text() == "mine" and len(outside) == 1
    return refused and kept and not canary.exists() and not seen


def _all_refuse(run: Path, effect: bool = True) -> bool:
    """Whether evaluating, loading and resuming all end with errors of ours; without, none does."""
    outcomes = []
    for attempt in (
        lambda: evaluate_run(run, 1),
        lambda: Dreamer.load(run).learn(4, progress=False),
        lambda: small.small_run(run.parent, resume=run, run__steps=84),
    ):
        try:
            attempt()
            outcomes.append(False)
        except (UsageError, EnvsError):
            outcomes.append(True)
    return all(outcomes) if effect else not any(outcomes)


def _of(function: Callable[[], object]) -> bool:
    """Whether a call ends with an error of ours."""
    try:
        function()
    except (UsageError, EnvsError):
        return True
    return False


def _checkpoints(run: Path) -> list[Path]:
    return [path for path in (run / "checkpoints").iterdir() if path.is_dir()]


# Pickles.


def _pickled_tensors(run: Path, canary: Path) -> bool:
    for path in _checkpoints(run):
        (path / "agent.safetensors").write_bytes(pickle.dumps(Bomb(canary)))
        small.resign(path)
    return _all_refuse(run)


def _torch_tensors(run: Path, canary: Path) -> bool:
    for path in _checkpoints(run):
        torch.save({"w": Bomb(canary)}, path / "agent.safetensors")
        small.resign(path)
    return _all_refuse(run)


def _pickled_json(run: Path, canary: Path) -> bool:
    for path in _checkpoints(run):
        (path / "loop.json").write_bytes(pickle.dumps(Bomb(canary), protocol=0))
        (path / "agent.json").write_bytes(pickle.dumps(Bomb(canary), protocol=0))
        small.resign(path)
    return _all_refuse(run)


def _pickles_beside(run: Path, canary: Path) -> bool:
    data = pickle.dumps(Bomb(canary))
    for place in (run, *_checkpoints(run)):
        for name in ("prefetch.pkl", "data.pkl", "replay.pkl", "latest.pt", "policy.pkl"):
            (place / name).write_bytes(data)
    return _all_refuse(run, effect=False)  # nobody reads them


def _pickled_segment(run: Path, canary: Path) -> bool:
    for file in (run / "records").iterdir():
        file.write_bytes(pickle.dumps(Bomb(canary)))
    # Damaged segments are replaced by copies of what is left.
    return small.small_run(run.parent, resume=run, run__steps=84).steps == 84


def _torch_file(run: Path, canary: Path) -> bool:
    torch.save(Bomb(canary), run / "model.pt")
    (run / "other.safetensors").write_bytes(pickle.dumps(Bomb(canary)))
    return _of(lambda: read_weights(run / "model.pt")) and _of(
        lambda: read_weights(run / "other.safetensors")
    )


def _object_arrays(run: Path, canary: Path) -> bool:
    array = np.array([Bomb(canary)], dtype=object)
    np.savez(run / "w.npz", w=array)
    (run / "p.npz").write_bytes(pickle.dumps(Bomb(canary)))
    return _of(lambda: read_official(run / "w.npz")) and _of(lambda: read_official(run / "p.npz"))


# Configurations.


def _config(text: str) -> Callable[[Path, Path], bool]:
    def attack(run: Path, canary: Path) -> bool:
        file = run / "config.yaml"
        file.write_text(file.read_text() + text.replace("CANARY", str(canary)))
        return _all_refuse(run) and _of(lambda: config.load_config(run))

    return attack


def _imports(name: str) -> Callable[[Path, Path], bool]:
    def attack(run: Path, canary: Path) -> bool:
        (run / "evil_module.py").write_text(f"import os; os.mkdir({str(canary)!r})\n")
        file = run / "config.yaml"
        file.write_text(file.read_text().replace("id: gym/CartPole-v1", f"id: {name}"))
        sys.path.insert(0, str(run))
        try:
            return _of(lambda: evaluate_run(run, 1)) and _of(
                lambda: Dreamer.load(run).learn(4, progress=False)
            )
        finally:
            sys.path.remove(str(run))

    return attack


def _names_a_program(run: Path, canary: Path) -> bool:
    program = run / "python"
    program.write_text(f"#!/bin/sh\nmkdir {canary}\n")
    program.chmod(0o755)
    file = run / "config.yaml"
    named = f"  options:\n    python: {program}\n"
    file.write_text(file.read_text().replace("  options:\n", named))
    return str(program) in file.read_text() and _of(lambda: evaluate_run(run, 1))


# Paths.


def _named(name: str) -> Callable[[Path, Path], bool]:
    def attack(run: Path, canary: Path) -> bool:
        def change(body):
            body["files"][name] = body["files"].pop("agent.json")

        for path in _checkpoints(run):
            small.sign(path, change)
        return _all_refuse(run)

    return attack


def _named_segment(name: str) -> Callable[[Path, Path], bool]:
    def attack(run: Path, canary: Path) -> bool:
        def change(body):
            for entry in body["segments"].values():
                entry["file"] = name

        for path in _checkpoints(run):
            if path.name != checkpoint.BEST:
                small.sign(path, change)
        return _of(lambda: small.small_run(run.parent, resume=run, run__steps=84))

    return attack


def _linked(name: str) -> Callable[[Path, Path], bool]:
    def attack(run: Path, canary: Path) -> bool:
        place = next(iter(sorted(run.glob(name))))
        target = run.parent / "outside" / ("precious.txt" if place.is_file() else "")
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        place.symlink_to(target)
        return _all_refuse(run)

    return attack


# Manifests.


def _manifest(change) -> Callable[[Path, Path], bool]:
    def attack(run: Path, canary: Path) -> bool:
        for path in _checkpoints(run):
            small.sign(path, change)
        return _all_refuse(run)

    return attack


def _unsigned(data: bytes) -> Callable[[Path, Path], bool]:
    def attack(run: Path, canary: Path) -> bool:
        for path in _checkpoints(run):
            (path / checkpoint.MANIFEST).write_bytes(data)
        return _all_refuse(run)

    return attack


def _set(key: str, value: object):
    def change(body):
        body[key] = value

    return change


FAMILIES: dict[str, dict[str, Callable[[Path, Path], bool]]] = {
    "pickles": {
        "in the place of tensors": _pickled_tensors,
        "torch.save in the place of tensors": _torch_tensors,
        "in the place of JSON": _pickled_json,
        "beside the files that are read": _pickles_beside,
        "in the place of segments": _pickled_segment,
        "as a file of weights": _torch_file,
        "as arrays of objects": _object_arrays,
    },
    "configurations": {
        "python tag": _config("\nx: !!python/object/apply:os.mkdir [CANARY]\n"),
        "python name": _config("\nx: !!python/name:os.mkdir\n"),
        "interpolation": _config("\nx: ${oc.env:HOME}\n"),
        "interpolated key": _config("\n'${now:%Y}': 1\n"),
        "aliases": _config("\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"),
        "twice": _config("\nseed: 7\n"),
        "too large": _config("\n#" + "x" * 300_000),
        "too deep": _config("\nx: " + "[" * 5000 + "]" * 5000 + "\n"),
        "a target to build": _config("\n_target_: os.mkdir\npath: CANARY\n"),
        "names a module": _imports("evil_module:Env-v0"),
        "names a module in a suite": _imports("gym/evil_module:Env-v0"),
        "names a class": _imports("evil_module:Env"),
        "names a program": _names_a_program,
    },
    "paths": {
        "up": _named("../../outside/precious.txt"),
        "absolute": _named("/etc/hostname"),
        "down": _named("sub/agent.json"),
        "dots": _named(".."),
        "null": _named("a\x00b"),
        "a segment up": _named_segment("../../outside/precious.txt"),
        "a segment absolute": _named_segment("/etc/hostname"),
    },
    "links": {
        name: _linked(name)
        for name in (
            "config.yaml",
            "metrics.jsonl",
            ".lock",
            "records",
            "checkpoints",
            "checkpoints/step-000000080",
            "checkpoints/step-*/agent.safetensors",
            "checkpoints/step-*/manifest.json",
            "records/*",
        )
    },
    "manifests": {
        "another format": _manifest(_set("format", 99)),
        "a format of another type": _manifest(_set("format", [2])),
        "no files": _manifest(lambda body: body.pop("files")),
        "files of another type": _manifest(_set("files", [1, 2])),
        "no facts": _manifest(_set("meta", None)),
        "segments of another type": _manifest(_set("segments", {"0/0": 3})),
        "a list": _unsigned(b"[]"),
        "deep": _unsigned(b"[" * 100_000),
        "a large number": _unsigned(b"9" * 100_000),
        "empty": _unsigned(b""),
        "bytes": _unsigned(bytes(range(256))),
    },
}


def _quiet_training(folder: Path) -> dict:
    """A whole run with envs in processes: nothing unpickled here, no socket beyond this machine."""
    with _looked() as seen:
        small.small_run(folder, name="quiet", env__processes=True)
        evaluate_run(folder / "quiet", 1)
    return small.row("security: training unpickles and listens to nothing", 1, int(not seen))


def _secrets(folder: Path) -> dict:
    """A password among the options of an env is in no file."""
    overrides = [f"env.api_key={SECRET}"]
    resolved = config.compose("gym/CartPole-v1", overrides=overrides)
    place = folder / "secrets"
    place.mkdir()
    config.save_config(resolved.config, place / "config.yaml")
    resolved.report.save(place)
    texts = [path.read_text() for path in place.iterdir()]
    texts.append(json.dumps(resolved.report.to_dict()))
    hidden = [SECRET not in text for text in texts]
    return small.row("security: secrets in files", len(hidden), sum(hidden))


def _watch() -> None:
    if not _watch.__dict__.get("installed"):
        _watch.__dict__["installed"] = True
        sys.addaudithook(_audit)


def _audit(event: str, given: tuple) -> None:
    if not _looking[0]:
        return
    if event == "pickle.find_class":
        _seen.append(f"unpickled {given[0]}.{given[1]}")
    elif event == "subprocess.Popen" and list(given[1][:3]) == _OWN_COMMIT:
        pass
    elif event in ("os.system", "subprocess.Popen"):
        _seen.append(f"{event} {given[:1]}")
    elif event in ("socket.bind", "socket.connect") and given[0].family != socket.AF_UNIX:
        _seen.append(f"{event} {given[1]}")


@contextmanager
def _looked() -> Iterator[list[str]]:
    """What the interpreter did meanwhile that it should not."""
    _seen.clear()
    _looking[0] = True
    try:
        yield _seen
    finally:
        _looking[0] = False
        for each in _seen:
            print(f"seen: {each}")
