"""A run as it is given to others: one checkpoint that acts, settings, numbers; no replay.

    FOLDER/  share.json                     size and sha256 of every other file
             README.md  evaluation.json     the model card, and what its table is of
             config.yaml  metrics.jsonl  machine.jsonl
             checkpoints/step-000080000/    agent and spaces, see `checkpoint.py`

It is a run folder: everything that takes one takes it. It is written and read as data alone
(safetensors, JSON, YAML, Markdown). What comes from elsewhere is a stranger's: names are checked
before anything is fetched, sizes and hashes after, and then it must load.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dreamer_plugin.config import Config, save_config
from dreamer_plugin.config.secrets import reveals
from dreamer_plugin.config.trust import PROGRAMS
from dreamer_plugin.errors import CheckpointError, UsageError, choose
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.evaluate import Chosen, load_agent
from dreamer_plugin.run.evaluate import choose as choose_run
from dreamer_plugin.run.export import DTYPES
from dreamer_plugin.run.folder import SHARED, RunFolder
from dreamer_plugin.run.machine import FILE as MACHINES
from dreamer_plugin.run.machine import read_machines
from dreamer_plugin.run.metrics import JSONL, read_metrics
from dreamer_plugin.run.telling import counted

FORMAT = 1
LIST = SHARED
CARD, EVALUATION = "README.md", "evaluation.json"
_WEIGHTS = ("world.", "behavior.")
_LOOSE = ("optimizer.updates", "generator")  # what an agent's state has beside the weights
# A stranger's names: no path leads out, and every ending is one that is only read as data.
_NAME = re.compile(
    r"(?:checkpoints/step-\d{9,12}/)?[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
    r"\.(?:json|jsonl|yaml|md|safetensors)"
)
_MOST_FILES, _MOST_LIST, _MOST_BYTES = 64, 1 << 20, 16 << 30

Fetch = Callable[[str, Path], None]  # copies the file of that name to that path


def write(chosen: Chosen, folder: Path, dtype: str = "float32") -> None:
    """Write what is shared of a run, but for its card and its list.

    Args:
        chosen: the checkpoint. folder: to fill. dtype: of the weights, a key of `export.DTYPES`.

    Raises:
        UsageError: for another dtype.
        CheckpointError: when the checkpoint is damaged.
    """
    stored = choose(DTYPES, dtype, "dtype")
    parts = checkpoint.read(chosen.path, ("agent", "spaces"))
    meta = checkpoint.meta(chosen.path)
    with checkpoint.understood(chosen.path):
        agent = {
            name: _narrow(value, stored)
            for name, value in parts["agent"].items()
            if name.startswith(_WEIGHTS) or name in _LOOSE
        }
    known: dict[str, Any] = {
        name: meta[name] for name in ("env", "step", "updates", "seconds") if name in meta
    }
    trees = {"agent": agent, "spaces": parts["spaces"]}
    run = RunFolder(folder)
    checkpoint.write(run.checkpoints / checkpoint.step_name(meta["step"]), trees, known)
    save_config(portable(chosen.cfg), run.config_path)
    rows = read_metrics(chosen.run) if (chosen.run / JSONL).is_file() else []
    _write_rows(folder / JSONL, map(_numbers, rows))
    _write_rows(folder / MACHINES, iter(read_machines(chosen.run)))


def portable(cfg: Config) -> Config:
    """Settings without places, programs and wishes of this machine."""
    options = {name: value for name, value in cfg.env.options.items() if name not in PROGRAMS}
    return replace(
        cfg,
        device="auto",
        compile="off",
        env=replace(cfg.env, options=options),
        run=replace(cfg.run, logdir=""),
        replay=replace(cfg.replay, folder=""),
    )


def seal(folder: Path) -> None:
    """List every file of a folder with its size and hash, once no secret is found in them.

    Raises:
        UsageError: when a file holds the value of an environment variable that is named like one.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / LIST:
            if path.suffix != ".safetensors" and reveals(path.read_text(encoding="utf-8")):
                raise UsageError(
                    f"{path.name} of this run holds a secret of your environment (a variable named "
                    "like KEY, TOKEN, SECRET or PASSWORD): nothing was shared."
                )
            name = path.relative_to(folder).as_posix()
            files[name] = {"size": path.stat().st_size, "sha256": checkpoint.sha256(path)}
    text = json.dumps({"format": FORMAT, "files": files}, indent=1, sort_keys=True)
    (folder / LIST).write_text(text + "\n", encoding="utf-8")


def facts(path: Path) -> dict[str, Any]:
    """Of the checkpoint of a shared run: env, step, updates, seconds as far as they are known."""
    return checkpoint.meta(path)


def take(fetch: Fetch, folder: Path) -> dict[str, Any]:
    """Fetch a shared run that is a stranger's, whole and verified or not at all.

    Args:
        fetch: of one file by name. folder: to make; it must not exist, or be empty.

    Returns:
        Facts of its checkpoint.

    Raises:
        UsageError: when the folder is in use, or its env is asked for by what no file may ask.
        CheckpointError: when the list or a file is not what it should be.
    """
    with filling(folder) as part:
        fetch(LIST, part / LIST)
        for name, entry in counted("files", list(read_list(part).items())):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            fetch(name, part / name)
            _verify(part / name, name, entry)
        found = checkpoint.steps(RunFolder(part).checkpoints)
        if len(found) != 1:
            raise CheckpointError(f"{LIST} names {len(found)} checkpoints, not one.")
        checkpoint.verify(found[0][1])
        chosen = choose_run(part, "latest")
        load_agent(chosen.cfg, chosen.path, "cpu")
        return {name: value for name, value in chosen.facts.items() if name != "run"}


def read_list(folder: Path) -> dict[str, dict[str, Any]]:
    """The files that a list names, with size and sha256.

    Raises:
        CheckpointError: when it is no list, or names what is never shared.
    """
    path = folder / LIST
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_LIST:
            raise ValueError("it is a link or too large")
        body = json.loads(path.read_bytes())
        if body["format"] != FORMAT:
            raise ValueError(f"it has format {body['format']!r}, this version reads {FORMAT}")
        files = dict(body["files"])
        for name, entry in files.items():
            _check(name, entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{LIST} cannot be used: {error}.") from error
    if len(files) > _MOST_FILES or sum(entry["size"] for entry in files.values()) > _MOST_BYTES:
        raise CheckpointError(f"{LIST} asks for more than {_MOST_FILES} files or 16 GB.")
    return files


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A new folder beside, which becomes this one at the end, or vanishes.

    Raises:
        UsageError: when the folder holds something, or cannot be made.
    """
    if folder.absolute() == Path.cwd():
        raise UsageError(f"{folder} is where you are: name a new folder inside it.")
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} exists already: name another folder, or remove it.")
    part = folder.parent / f".part-{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"Cannot make a folder in {folder.parent}: {error.strerror}.") from error
    try:
        yield part
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(name: Any, entry: Mapping[str, Any]) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == LIST:
        raise ValueError(f"it names {str(name)[:80]!r}, which is nothing that is shared")
    if type(entry["size"]) is not int or entry["size"] < 0 or not isinstance(entry["sha256"], str):
        raise ValueError(f"it has no size and sha256 of {name}")


def _verify(path: Path, name: str, entry: Mapping[str, Any]) -> None:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != entry["size"]:
        raise CheckpointError(f"{name} is missing, cut short or grown.")
    if checkpoint.sha256(path) != entry["sha256"]:
        raise CheckpointError(f"{name} is damaged (not the sha256 in {LIST}).")


def _narrow(value: Any, dtype: torch.dtype) -> Any:
    floats = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(dtype).contiguous() if floats else value


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in row.items() if value is None or type(value) in (int, float)
    }


def _write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Lines of JSON; no file where there is none."""
    lines = [json.dumps(row, allow_nan=False) + "\n" for row in rows]
    if lines:
        path.write_text("".join(lines), encoding="utf-8")
