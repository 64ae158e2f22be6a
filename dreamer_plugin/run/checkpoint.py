"""Checkpoints on disk: a new folder each time, safetensors and JSON under a hashed manifest.

    checkpoints/
      step-000020000/  agent.safetensors agent.json  replay.safetensors replay.json  ...
      step-000040000/  manifest.json
      best/            agent.safetensors agent.json best.json manifest.json
      .tmp-...         being written; swept at the next start
      damaged-...      did not verify when the run went on
    records/           segments of the replay that checkpoints share, see `records.py`

A folder is written under a temporary name, every file and the folder are fsynced, and one rename
publishes it: it is there whole or not at all. `manifest.json` names every file with its size and
sha256 and carries the hash of itself, so that any flipped or missing byte is noticed. There is no
pointer file that could be torn: the newest folder that verifies is the latest. Nothing is pickled,
and nothing outside the manifest is read.

Format 2 keeps full segments of records once for all checkpoints; in format 1 each held all records.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dreamer_envs.errors import StateError
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run import records
from dreamer_plugin.run.packing import Tree, pack_streamed, unpack
from dreamer_plugin.run.records import Entries, sync
from dreamer_plugin.run.tensorfile import write_file, write_tensors

FORMAT = 2
Body = dict[str, Any]  # of a manifest
# From each older format to the next.
MIGRATIONS: dict[int, Callable[[Body], Body]] = {
    1: lambda body: body | {"format": 2, "segments": {}},
}
MANIFEST = "manifest.json"
BEST = "best"
_RETIRED_BEST = ".old-best"
_STEP = re.compile(r"step-(\d{9,})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")  # of a file: no path leads out of it
_MOST = 64 << 20  # bytes of a manifest; a replay of 100 million records has 20 MB
_CHUNK = 1 << 20  # bytes hashed at a time
# What a tree of another make leads to while it is taken over.
_MISFITS = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    RuntimeError,
    OverflowError,
    AssertionError,
)


class NewerFormatError(CheckpointError):
    """A later version wrote the checkpoint: whole, and not for this one to touch."""


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint did not verify and an older one is used instead."""


def step_name(step: int) -> str:
    """Folder name of the checkpoint taken at this agent step."""
    return f"step-{step:09d}"


def write(
    folder: Path,
    parts: Mapping[str, Tree],
    meta: Mapping[str, Any],
    segments: Entries | None = None,
) -> Path:
    """Write one checkpoint atomically.

    Args:
        folder: where it will stand; one that stands there already is replaced.
        parts: name -> state tree (see `packing.pack`); each becomes `<name>.json` and, when it
            holds tensors, `<name>.safetensors`.
        meta: plain facts for the manifest (step, updates ...), readable without the tensors.
        segments: of the replay's records that go with it, as `RecordFiles.write` gave them.

    Returns:
        `folder`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".tmp-{folder.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        files: dict[str, Any] = {}
        for name, tree in parts.items():
            files |= _write_part(temporary / name, tree)
        body = {"format": FORMAT, "meta": dict(meta), "files": files, "segments": segments or {}}
        write_file(temporary / MANIFEST, _render_manifest(body))
        sync(temporary)
        _publish(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def verify(
    folder: Path, names: Iterable[str] | None = None, with_segments: bool | None = None
) -> dict[str, Any]:
    """Check every byte of a checkpoint against its manifest.

    Args:
        folder: made by `write`.
        names: of the parts to check, all by default.
        with_segments: whether to check the segments of records; by default when all parts are.

    Returns:
        The manifest's `meta`.

    Raises:
        CheckpointError: naming the file that is missing, of the wrong size or of the wrong content.
    """
    body = _read_manifest(folder)
    chosen = None if names is None else set(names)
    for name, expected in body["files"].items():
        if chosen is None or name.rpartition(".")[0] in chosen:
            _verify_file(folder, folder / name, expected)
    if chosen is None if with_segments is None else with_segments:
        for entry in body["segments"].values():
            _verify_file(folder, records_of(folder) / entry["file"], entry)
    return body["meta"]


def damaged_segments(folder: Path) -> list[str]:
    """Segments of records of a checkpoint that do not verify, as `env/number`."""
    damaged = []
    for name, entry in segments(folder).items():
        try:
            _verify_file(folder, records_of(folder) / entry["file"], entry)
        except CheckpointError:
            damaged.append(name)
    return damaged


def meta(folder: Path) -> dict[str, Any]:
    """The facts in a manifest, which alone is checked."""
    return _read_manifest(folder)["meta"]


def segments(folder: Path) -> Entries:
    """The segments of records that go with a checkpoint, by `env/number`."""
    return _read_manifest(folder)["segments"]


def records_of(folder: Path) -> Path:
    """Where the segments of a checkpoint lie."""
    return folder.parent.parent / records.FOLDER


def part_names(folder: Path) -> list[str]:
    """The parts that a checkpoint holds."""
    files = _read_manifest(folder)["files"]
    return sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))


def read(folder: Path, names: Iterable[str] | None = None) -> dict[str, Tree]:
    """Verify parts of a checkpoint and read them; segments of records are not looked at.

    Args:
        folder: a folder made by `write`.
        names: which parts; all of them by default.

    Raises:
        CheckpointError: when it does not verify or lacks a part.
    """
    present = part_names(folder)
    wanted = present if names is None else list(names)
    missing = set(wanted) - set(present)
    if missing:
        raise CheckpointError(f"{folder} holds {present}, not {sorted(missing)}.")
    verify(folder, wanted, with_segments=False)
    return {name: _read_part(folder / name) for name in wanted}


@contextmanager
def understood(folder: Path) -> Iterator[None]:
    """What goes wrong while a state is taken over is the fault of the checkpoint.

    Raises:
        CheckpointError: for a tree that is not what this version writes, or other envs.
    """
    try:
        yield
    except (UsageError, torch.OutOfMemoryError):
        raise
    except StateError as error:
        raise CheckpointError(
            f"{folder} was saved with other envs: {error} Make as many with the same class and "
            "wrappers, or go on from its weights alone (dreamer-plugin export)."
        ) from error
    except _MISFITS as error:
        kind = type(error).__name__
        raise CheckpointError(f"{folder} does not fit this version: {kind}: {error}.") from error


def is_checkpoint(folder: Path) -> bool:
    """Whether this looks like one checkpoint folder (verified only when read)."""
    return (folder / MANIFEST).is_file()


def steps(checkpoints: Path) -> list[tuple[int, Path]]:
    """All step-numbered checkpoints of a run, newest first, not verified."""
    if not checkpoints.is_dir():
        return []
    matches = [(_STEP.fullmatch(path.name), path) for path in checkpoints.iterdir()]
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)


def newest(
    checkpoints: Path, quarantine: bool = False, names: Iterable[str] | None = None
) -> Path | None:
    """The newest checkpoint that verifies; damaged ones are passed over with a warning.

    Args:
        checkpoints: of a run.
        names: look at these parts alone; at all, and the segments of records, by default.
        quarantine: rename the damaged ones when a whole one is found, so that nothing takes them
            for checkpoints again; only for who holds the lock of the run.

    Raises:
        NewerFormatError: when a later version wrote the newest.
    """
    damaged = []
    for _, folder in steps(checkpoints):
        try:
            verify(folder, names)
        except NewerFormatError:
            raise
        except CheckpointError as error:
            message = f"Passing over a damaged checkpoint: {error}"
            warnings.warn(message, DamagedCheckpointWarning, stacklevel=2)
            damaged.append(folder)
        else:
            for path in damaged * quarantine:
                path.rename(path.with_name(f"damaged-{path.name}-{uuid.uuid4().hex[:8]}"))
            return folder
    return None


def best(checkpoints: Path) -> Path | None:
    """The best checkpoint, also when the process died between the two renames that replace it."""
    candidates = (checkpoints / BEST, checkpoints / _RETIRED_BEST)
    return next((path for path in candidates if is_checkpoint(path)), None)


def sweep(checkpoints: Path) -> None:
    """Remove what a killed process left half written; only while no one else writes there."""
    if not checkpoints.is_dir():
        return
    for path in checkpoints.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in checkpoints.glob(".old-*"):
        final = checkpoints / path.name.removeprefix(".old-")
        if final.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(final)
    drop_segments(checkpoints)


def drop_segments(checkpoints: Path) -> None:
    """Remove the segments of records that no checkpoint names."""
    named: set[str] = set()
    for _, folder in steps(checkpoints):
        try:
            named |= {entry["file"] for entry in segments(folder).values()}
        except NewerFormatError:  # what it names cannot be known
            return
        except CheckpointError:  # nobody can load it
            continue
    records.RecordFiles(checkpoints.parent / records.FOLDER).keep_only(named)


def prune(checkpoints: Path, keep: int) -> None:
    """Remove step-numbered checkpoints beyond the newest `keep` (at least one stays)."""
    for _, folder in steps(checkpoints)[max(keep, 1) :]:
        shutil.rmtree(folder)


def _write_part(stem: Path, tree: Tree) -> dict[str, Any]:
    """Write one part; size and sha256 of its files by name."""
    tensors, plain = pack_streamed(tree)
    files = {}
    if tensors:
        path = stem.with_name(f"{stem.name}.safetensors")
        files[path.name] = write_tensors(path, tensors)
    path = stem.with_name(f"{stem.name}.json")
    files[path.name] = write_file(path, json.dumps(plain, allow_nan=False).encode())
    return files


def _verify_file(folder: Path, path: Path, expected: Mapping[str, Any]) -> None:
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        raise CheckpointError(f"{folder}: {path.name} is missing.")
    if path.stat().st_size != expected["size"]:
        raise CheckpointError(f"{folder}: {path.name} is cut short or grown.")
    if sha256(path) != expected["sha256"]:
        raise CheckpointError(f"{folder}: {path.name} is damaged (not the sha256 written).")


def _read_part(stem: Path) -> Tree:
    file = stem.with_name(f"{stem.name}.safetensors")
    try:
        tensors = load_file(file) if file.exists() else {}
        plain = json.loads(stem.with_name(f"{stem.name}.json").read_text())
        with understood(stem):
            return unpack(tensors, plain)
    except (SafetensorError, ValueError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise CheckpointError(f"{stem} cannot be read: {error}.") from error


def _publish(temporary: Path, folder: Path) -> None:
    """Rename into place; what stands there already (the last best) steps aside first."""
    retired = folder.parent / f".old-{folder.name}"
    if folder.exists():
        shutil.rmtree(retired, ignore_errors=True)
        folder.rename(retired)
    temporary.rename(folder)
    sync(folder.parent)
    shutil.rmtree(retired, ignore_errors=True)


def sha256(path: Path) -> str:
    """Of the bytes of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _render_manifest(body: Mapping[str, Any]) -> bytes:
    """The manifest's exact bytes, closed by the hash of everything before."""
    text = json.dumps(body, indent=1, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (json.dumps({**body, "self": digest}, indent=1, sort_keys=True) + "\n").encode()


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        if folder.is_symlink() or (folder / MANIFEST).is_symlink():
            raise ValueError("it is a link")
        with (folder / MANIFEST).open("rb") as file:
            raw = file.read(_MOST + 1)
        if len(raw) > _MOST:
            raise ValueError(f"it is larger than {_MOST >> 20} MB")
        body = json.loads(raw)
        body.pop("self")
        intact = raw == _render_manifest(body)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        message = f"{folder} is not a whole checkpoint: {MANIFEST} cannot be read ({error})."
        raise CheckpointError(message) from error
    if not intact:
        raise CheckpointError(f"{folder}: {MANIFEST} is damaged.")
    with understood(folder):
        while body["format"] in MIGRATIONS:
            body = MIGRATIONS[body["format"]](body)
        if body["format"] != FORMAT:
            found = f"{body['format']!r}; this version reads 1 to {FORMAT}"
            newer = isinstance(body["format"], int) and body["format"] > FORMAT
            if newer:
                raise NewerFormatError(f"{folder} has format {found}: upgrade dreamer-plugin.")
            raise CheckpointError(f"{folder} has format {found}.")
        _check_entries(folder, body)
    return body


def _check_entries(folder: Path, body: Body) -> None:
    """Names stay in their folder, and sizes and hashes are such."""
    entries = [*body["files"].items()]
    entries += [(entry["file"], entry) for entry in body["segments"].values()]
    for name, entry in entries:
        if not _NAME.fullmatch(name):
            raise CheckpointError(f"{folder}: {MANIFEST} names {name!r}, outside its folder.")
        if type(entry["size"]) is not int or not isinstance(entry["sha256"], str):
            raise CheckpointError(f"{folder}: {MANIFEST} has no size and sha256 of {name}.")
    if not isinstance(body["meta"], dict):
        raise CheckpointError(f"{folder}: {MANIFEST} has no facts.")
