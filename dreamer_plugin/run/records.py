"""Sealed segments of replay records: files that are written once and shared by checkpoints.

    <run>/records/  0-12-5f3a...c1.safetensors    env 0, segment 12, the beginning of its sha256
                    .tmp-...                      being written; swept at the next start

A checkpoint's manifest names the segments it needs, with size and sha256. A segment stays as long
as a checkpoint names it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dreamer_plugin.errors import CheckpointError
from dreamer_plugin.run.tensorfile import write_tensors

Entry = dict[str, Any]  # file, size, sha256
Entries = dict[str, Entry]  # by `env/number`
FOLDER = "records"


class RecordFiles:
    """The segment files of one run; knows which have been written.

    Args:
        folder: where they lie; made when the first is written.
        known: of the checkpoint that the run continues.
    """

    def __init__(self, folder: Path, known: Entries | None = None) -> None:
        self.folder, self._known = folder, dict(known or {})

    def write(self, sealed: Mapping[str, Mapping[str, Tensor]]) -> Entries:
        """Write those that are not there yet.

        Args:
            sealed: fields by name, of each full segment by `env/number`.

        Returns:
            One entry for each of `sealed`.
        """
        new = [name for name in sealed if name not in self._known]
        if new:
            self.folder.mkdir(parents=True, exist_ok=True)
        for name in new:
            self._known[name] = self._write(name, sealed[name])
        if new:
            sync(self.folder)
        self._known = {name: self._known[name] for name in sealed}
        return dict(self._known)

    def carry(self, source: Path, entries: Entries) -> None:
        """Copy the segments of another run's checkpoint here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for entry in entries.values():
            temporary = self._temporary()
            shutil.copyfile(source / entry["file"], temporary)
            sync(temporary)
            temporary.rename(self.folder / entry["file"])
        sync(self.folder)

    def keep_only(self, files: Iterable[str]) -> None:
        """Remove every segment that is not one of these, and what was left half written."""
        if self.folder.is_dir():
            there = {path.name for path in self.folder.iterdir() if path.is_file()}
            for name in there - set(files):
                (self.folder / name).unlink()

    def _write(self, name: str, tensors: Mapping[str, Tensor]) -> Entry:
        temporary = self._temporary()
        try:
            facts = write_tensors(temporary, tensors)
            # The hash in the name: another course of the same run never overwrites this one.
            file = f"{name.replace('/', '-')}-{facts['sha256'][:16]}.safetensors"
            temporary.rename(self.folder / file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return {"file": file, **facts}

    def _temporary(self) -> Path:
        return self.folder / f".tmp-{uuid.uuid4().hex[:8]}"


def read_segments(folder: Path, entries: Entries) -> dict[str, Tensor]:
    """All fields of verified segments, by `env/number/field`.

    Raises:
        CheckpointError: when one cannot be read.
    """
    tensors = {}
    for name, entry in entries.items():
        try:
            for field, tensor in load_file(folder / entry["file"]).items():
                tensors[f"{name}/{field}"] = tensor
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder / entry['file']} cannot be read: {error}.") from error
    return tensors


def sync(path: Path) -> None:
    """Have a file or a folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
