"""Mutated inputs by the thousand: every one is taken, or refused with an error of ours.

Files are mutated as bytes (flips, cuts, splices, numbers that are too large) and as data (values of
other types, missing and unknown keys), the latter under a manifest that goes with them, as an
attacker would write it. No other kind of error, no file outside, no memory without bounds.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dreamer_envs
from dreamer_envs.errors import EnvsError
from dreamer_plugin.config import compose, load_config
from dreamer_plugin.config.history import saved_history
from dreamer_plugin.doors.dialects import words_cli
from dreamer_plugin.doors.dialects.weights import read_weights, save_weights
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.weights import read_official
from dreamer_plugin.run import checkpoint, snapshot
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.evaluate import load_agent
from dreamer_plugin.run.folder import find_run
from dreamer_plugin.run.metrics import read_metrics
from dreamer_plugin.run.native import NativeForm
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.training import Training
from tests.faults import small

WORST = 600 << 20  # bytes that the process may grow by
ODD = [None, True, 0, -1, 2**31, 2**63, 2**70, 1e308, "", "x" * 300, "nan", [], {}, [[]], "../x"]
BLOBS = [b"\xff" * 8, bytes(8), b"99999999", b'":{"[[[[', b"$"]
WORDS = ["gym", "/", ":", "-v1", "CartPole", "..", "\x00", "é", " ", "toy/catch", "%s", "${x}", "="]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--n", type=int, default=10**9, help="inputs at most")
    parser.add_argument("--seed", type=int, default=0)


class Place:
    """What is mutated: a run, its parts, files of weights.

    Args:
        folder: to make them in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = small.small_run(folder, run__steps=44).run_dir
        self.checkpoint = checkpoint.newest(self.run / "checkpoints")
        self.cfg = load_config(self.run)
        parts = checkpoint.read(self.checkpoint, ["agent", "spaces"])
        self.spaces = json.loads((self.checkpoint / "spaces.json").read_text())
        self.weights = save_weights(folder / "weights" / "model.safetensors", parts, self.cfg)
        np.savez(folder / "w.npz", a=np.ones(3, np.float32), b=np.zeros((2, 2), np.float32))
        self.training = Training(self.cfg, build_parts(self.cfg, source_of(self.cfg)))
        files = [path for path in folder.rglob("*") if path.is_file()]
        self.kept = {path: path.read_bytes() for path in files}
        self.stamps = {path: path.stat().st_mtime_ns for path in files}

    def mutate_file(self, path: Path, chance: random.Random) -> None:
        """Give one file other bytes."""
        path.write_bytes(mutated(self.kept[path], chance))

    def mutate_json(self, path: Path, chance: random.Random) -> None:
        """Give one file of JSON other data, and its checkpoint a manifest to match."""
        tree = json.loads(self.kept[path])
        path.write_text(json.dumps(twisted(tree, chance)))
        small.resign(path.parent)

    def restore(self) -> None:
        """As it was."""
        for path, data in self.kept.items():
            if not path.exists() or path.stat().st_mtime_ns != self.stamps[path]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                self.stamps[path] = path.stat().st_mtime_ns


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Other bytes."""
    out = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        kind, size = chance.randrange(6), max(len(out), 1)
        at = chance.randrange(size)
        if kind == 0 and out:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at:at] = chance.randbytes(chance.choice([1, 4, 64]))
        elif kind == 3:
            out[at : at + chance.choice([1, 8, 64])] = b""
        elif kind == 4:
            out[at : at + 8] = chance.choice(BLOBS)
        else:
            start = chance.randrange(size)
            out[at:at] = out[start : start + chance.choice([1, 16, 128])]
    return bytes(out)


def twisted(tree, chance: random.Random):
    """Other data: one value somewhere of another type, removed, or under another name."""
    if isinstance(tree, dict) and tree and chance.random() < 0.9:
        key = chance.choice(list(tree))
        if chance.random() < 0.1:
            return {k: v for k, v in tree.items() if k != key}
        if chance.random() < 0.1:
            return {f"{k}x" if k == key else k: v for k, v in tree.items()}
        return tree | {key: twisted(tree[key], chance)}
    if isinstance(tree, list) and tree and chance.random() < 0.9:
        at = chance.randrange(len(tree))
        if chance.random() < 0.2:
            return tree[:at] + tree[at + 1 :]
        return [*tree[:at], twisted(tree[at], chance), *tree[at + 1 :]]
    return chance.choice(ODD)


def text(chance: random.Random) -> str:
    """Words that nobody would type."""
    parts = [chance.choice(WORDS) for _ in range(chance.randrange(1, 6))]
    odd = chance.choices(range(1, 0x2FF), k=chance.randrange(4))
    return "".join([*parts, *map(chr, odd)])


# What is fed; each takes a `Place` and a `random.Random`.


def _manifest_bytes(place: Place, chance: random.Random) -> None:
    place.mutate_file(place.checkpoint / "manifest.json", chance)
    checkpoint.verify(place.checkpoint)


def _manifest_data(place: Place, chance: random.Random) -> None:
    def change(body):
        other = twisted(dict(body), chance)
        body.clear()
        body.update(other if isinstance(other, dict) else {})

    small.sign(place.checkpoint, change)
    checkpoint.verify(place.checkpoint)
    load_agent(place.cfg, place.checkpoint, "cpu")


def _part_data(place: Place, chance: random.Random) -> None:
    name = chance.choice(["agent", "spaces", "loop", "replay"])
    place.mutate_json(place.checkpoint / f"{name}.json", chance)
    snapshot.restore(place.training.state, place.checkpoint)
    if name == "spaces":
        load_agent(place.cfg, place.checkpoint, "cpu")


def _tensor_bytes(place: Place, chance: random.Random) -> None:
    name = chance.choice(["agent", "loop", "replay"])
    path = place.checkpoint / f"{name}.safetensors"
    head = place.kept[path][:2000]
    path.write_bytes(mutated(head, chance) + place.kept[path][2000:])
    small.resign(place.checkpoint)
    snapshot.restore(place.training.state, place.checkpoint)


def _spaces(place: Place, chance: random.Random) -> None:
    with checkpoint.understood(place.checkpoint):
        tree = checkpoint.unpack({}, twisted(place.spaces, chance))
        NativeForm.from_dict(tree)


def _config_bytes(place: Place, chance: random.Random) -> None:
    place.mutate_file(place.run / "config.yaml", chance)
    load_config(place.run)


def _layers(place: Place, chance: random.Random) -> None:
    data = b'{"history": {"seed": [[3, "options"], [4, "x"]], "run.steps": [[8, "--steps"]]}}'
    (place.run / "layers.json").write_bytes(mutated(data, chance))
    saved_history(place.run)


def _journal(place: Place, chance: random.Random) -> None:
    place.mutate_file(place.run / "metrics.jsonl", chance)
    read_metrics(place.run)


def _env_ids(place: Place, chance: random.Random) -> None:
    dreamer_envs.canonical(text(chance))


def _overrides(place: Place, chance: random.Random) -> None:
    key = chance.choice(["seed", "run.steps", "env.x", "optim.lr", "model", text(chance)])
    compose("toy/catch", overrides=[f"{key}={text(chance)}"])


def _paths(place: Place, chance: random.Random) -> None:
    name = text(chance).replace("\x00", "")
    words_cli.saved(Path(name))
    find_run(place.folder / name)


def _official(place: Place, chance: random.Random) -> None:
    place.mutate_file(place.folder / "w.npz", chance)
    read_official(place.folder / "w.npz")


def _weights(place: Place, chance: random.Random) -> None:
    data = place.kept[place.weights]
    place.weights.write_bytes(mutated(data[:3000], chance) + data[3000:])
    read_weights(place.weights)


def _segments(place: Place, chance: random.Random) -> None:
    path = next((place.run / "records").iterdir())
    place.mutate_file(path, chance)
    lost = checkpoint.damaged_segments(place.checkpoint)
    if path.read_bytes() != place.kept[path] and len(lost) != 1:
        raise AssertionError(f"damage to {path} was not noticed")


TARGETS: dict[str, tuple[Callable[[Place, random.Random], None], int]] = {
    "bytes of a manifest": (_manifest_bytes, 6),
    "data of a manifest": (_manifest_data, 2),
    "data of a checkpoint": (_part_data, 2),
    "bytes of tensors": (_tensor_bytes, 2),
    "spaces": (_spaces, 8),
    "bytes of a configuration": (_config_bytes, 4),
    "who set what": (_layers, 6),
    "the log": (_journal, 6),
    "names of envs": (_env_ids, 4),
    "settings": (_overrides, 2),
    "paths": (_paths, 6),
    "official weights": (_official, 6),
    "a file of weights": (_weights, 4),
    "segments of records": (_segments, 4),
}


def run(given: argparse.Namespace) -> list[dict]:
    """One row for each kind of input."""
    chance = random.Random(given.seed)
    tried, wrong = Counter(), Counter()
    names = [name for name, (_, weight) in TARGETS.items() for _ in range(weight)]
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "place")
        before = _largest()
        end = time.monotonic() + given.seconds
        while time.monotonic() < end and tried.total() < given.n:
            name = names[tried.total() % len(names)]
            tried[name] += 1
            try:
                TARGETS[name][0](place, chance)
            except (UsageError, EnvsError):
                pass
            except Exception:
                wrong[name] += 1
                if wrong[name] <= 2:
                    print(f"{name}:\n{traceback.format_exc(limit=-4)}")
            place.restore()
        grown = _largest() - before
        strays = [path.name for path in Path(folder).iterdir() if path.name != "place"]
        shutil.rmtree(place.folder, ignore_errors=True)
    print(f"{tried.total():,} inputs; the process grew by {grown >> 20} MB; strays: {strays}")
    rows = [small.row(f"fuzz: {n}", tried[n], tried[n] - wrong[n]) for n in TARGETS if tried[n]]
    rows.append(small.row("fuzz: memory and files outside", 1, int(grown < WORST and not strays)))
    return rows


def _largest() -> int:
    """The most memory that the process ever held, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
