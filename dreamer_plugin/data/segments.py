"""What segments of records are made of: memory of this process, or files mapped into memory.

    segment of n records    [ image n*S | reward n*4 | ... | deter n*D*4 | stoch n*G ]

A segment is one array per field, so a window is a slice of each. In a file the arrays lie one after
the other and are read and written like any others; the system keeps what is in use in memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from dreamer_plugin.data.fields import Field
from dreamer_plugin.errors import UsageError

Segment = list[np.ndarray]  # one array `[records, *shape]` per field
Allocate = Callable[[Sequence[Field], int], Segment]

OPEN_FILES = Path("/proc/self/fd")  # where Linux lets a file be opened that has no name
_ALIGNED = 64  # bytes; every array begins at a multiple


def in_memory(fields: Sequence[Field], count: int) -> Segment:
    """Arrays for `count` records in the memory of this process."""
    return [field.empty(count) for field in fields]


class OnDisk:
    """Makes segments in files of a folder; call it as `in_memory`.

    The files have no name. So no other run can write to them, and the system deletes them when the
    replay is gone or the process has ended, however it ended. Their blocks are reserved when they
    are made: a disk that is full is an error here, and never a crash while a record is written.

    Args:
        folder: on the disk to use; made if needed.

    Raises:
        UsageError: on a system that cannot do this, or for a folder that cannot be made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not OPEN_FILES.is_dir():
            raise UsageError(f"a replay on disk needs Linux ({OPEN_FILES}); keep it in memory")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"replay cannot lie in {self.folder}: {error.strerror}; name another folder with "
                "replay.folder"
            ) from error

    def __call__(self, fields: Sequence[Field], count: int) -> Segment:
        """Arrays for `count` records in a new file.

        Raises:
            UsageError: when the disk has no room, or the folder cannot be used.
        """
        starts, size = [], 0
        for field in fields:
            starts.append(size)
            size += -(-count * field.nbytes // _ALIGNED) * _ALIGNED
        whole = self._map(size)
        segment = []
        for field, start in zip(fields, starts, strict=True):
            like = field.empty(0)
            flat = whole[start : start + count * field.nbytes].view(like.dtype)
            segment.append(flat.reshape(count, *like.shape[1:]))
        return segment

    def _map(self, size: int) -> np.ndarray:
        """A new file of so many bytes as an array uint8 `[size]`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                os.posix_fallocate(file.fileno(), 0, size)
                path = str(OPEN_FILES / str(file.fileno()))
                # Unlike Python's own mmap this keeps no file open: a long replay has thousands.
                return torch.from_file(path, shared=True, size=size, dtype=torch.uint8).numpy()
        except (OSError, RuntimeError) as error:  # the latter is PyTorch's
            reason = error.strerror if isinstance(error, OSError) else error
            free = ""
            if self.folder.is_dir():
                free = f", {shutil.disk_usage(self.folder).free:,} free"
            raise UsageError(
                f"replay cannot take another {size:,} bytes in {self.folder}: {reason}{free}; "
                "lower replay.capacity, or name another disk with replay.folder"
            ) from error
