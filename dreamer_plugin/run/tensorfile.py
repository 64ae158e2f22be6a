"""Tensors into one safetensors file: reserved first, hashed while written, one tensor at a time.

The library's own writer wants every tensor in memory at once, holds Python's lock while it writes,
and leaves the checksum to a second reading. This one streams, so that a replay is written beside a
training. What it writes is read by the library; a test compares both.

    8 bytes: length of the header | header: JSON, padded to 8 bytes | data, no gaps
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamer_plugin.data.frozen import Later

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_CHUNK = 1 << 22  # bytes written and hashed at a time


class HashedFile:
    """A new file that is hashed as it is written, and on the disk when it is closed.

    Args:
        path: must not exist yet. size: bytes to reserve; a disk that is full is an error here.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._file, self._digest, self._size = path.open("xb"), hashlib.sha256(), 0
        try:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
        except BaseException:
            self._file.close()
            raise

    def write(self, data: Any) -> None:
        """Append bytes, or anything of bytes."""
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            piece = view[start : start + _CHUNK]
            self._file.write(piece)
            self._digest.update(piece)
        self._size += len(view)

    def close(self) -> dict[str, Any]:
        """Sync; `{"size", "sha256"}` of what was written."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        return {"size": self._size, "sha256": self._digest.hexdigest()}


def write_file(path: Path, data: bytes) -> dict[str, Any]:
    """A file of these bytes; its size and sha256."""
    file = HashedFile(path, len(data))
    file.write(data)
    return file.close()


def write_tensors(path: Path, tensors: Mapping[str, Tensor | Later]) -> dict[str, Any]:
    """A safetensors file.

    Args:
        path: must not exist yet. tensors: on the CPU, contiguous; those to be read later are read
            one after the other.

    Returns:
        `{"size", "sha256"}`.

    Raises:
        OSError: when the disk is full.
    """
    # Wide numbers first, so that each tensor begins at a multiple of its number's size.
    items = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    header, end = {}, 0
    for name, tensor in items:
        start, end = end, end + _nbytes(tensor)
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file = HashedFile(path, 8 + len(text) + end)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, tensor in items:
        whole = tensor.read() if isinstance(tensor, Later) else tensor
        # A single number may have stride 0, which cannot be seen as bytes.
        flat = whole.contiguous().as_strided((whole.numel(),), (1,))
        file.write(flat.view(torch.uint8).numpy())
    return file.close()


def _nbytes(tensor: Tensor | Later) -> int:
    count = 1
    for size in tensor.shape:
        count *= size
    return count * tensor.dtype.itemsize
