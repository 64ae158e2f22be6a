"""The streams of a replay as they are at one moment, to be written while the replay goes on.

    records of a segment   never change          read where they lie
    latents of a segment   rewritten by training  what is overwritten is noted first

    write-back     latents  a b c d e f     undo log   (2:4, [c d])
    afterwards              a b X Y e f
    read           copy, then undo          a b c d e f

So a save holds training up for no copy of the replay, and takes memory only for the latents that
training touches before they are read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamer_plugin.data.fields import Field
from dreamer_plugin.data.segments import Segment


@dataclass(frozen=True)
class Later:
    """A tensor that is read when it is written.

    Args:
        shape, dtype: of the tensor. read: gives it; to be called once, by any thread.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]


@dataclass
class _Piece:
    """One segment at that moment: the arrays, how much of them is filled, what was overwritten."""

    arrays: Segment
    filled: int
    unread: set[int]  # which latents are still to be read
    undo: list[tuple[slice, dict[int, np.ndarray]]] = field(default_factory=list)


class FrozenStreams:
    """Segments of a storage, still as they were when this was made.

    Args:
        fields: of a record. length: records of a full segment.
        segments: `(env, number, arrays, records filled)` of each.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        length: int,
        segments: Iterator[tuple[int, int, Segment, int]],
    ) -> None:
        self._length, self._lock = length, threading.Lock()
        self._records = [(i, f) for i, f in enumerate(fields) if not f.is_latent]
        self._latents = [(i, f) for i, f in enumerate(fields) if f.is_latent]
        self._pieces = {
            f"{env}/{number}": _Piece(arrays, filled, {i for i, _ in self._latents})
            for env, number, arrays, filled in segments
        }
        self._by_arrays = {id(piece.arrays): piece for piece in self._pieces.values()}

    def sealed(self) -> dict[str, dict[str, Tensor]]:
        """Records of full segments by `env/number` and name of the field; nothing is copied."""
        return {
            name: self._read_records(piece)
            for name, piece in self._pieces.items()
            if piece.filled == self._length
        }

    def open(self) -> dict[str, Tensor]:
        """Records of the other segments, by `env/number/field`."""
        return {
            f"{name}/{key}": tensor
            for name, piece in self._pieces.items()
            if piece.filled < self._length
            for key, tensor in self._read_records(piece).items()
        }

    def latents(self) -> dict[str, Later]:
        """Latents of all segments, by `env/number/field`."""
        return {
            f"{name}/{f.name}": Later((piece.filled, *f.shape), f.dtype, self._reader(piece, i, f))
            for name, piece in self._pieces.items()
            for i, f in self._latents
        }

    def before_write(self, segment: Segment, part: slice) -> None:
        """Note the latents of some records that are about to be overwritten."""
        with self._lock:
            piece = self._by_arrays.get(id(segment))
            if piece is not None and piece.unread:
                piece.undo.append((part, {i: segment[i][part].copy() for i in piece.unread}))

    def _read_records(self, piece: _Piece) -> dict[str, Tensor]:
        return {f.name: f.to_tensor(piece.arrays[i][: piece.filled]) for i, f in self._records}

    def _reader(self, piece: _Piece, i: int, kind: Field) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with self._lock:
                array = piece.arrays[i].copy()
                for part, old in reversed(piece.undo):
                    array[part] = old.pop(i)
                piece.unread.discard(i)
            return kind.to_tensor(array[: piece.filled])

        return read


def copied(tree: Any) -> Any:
    """A nested dict or list with tensors and arrays in memory of their own, on the CPU."""
    if isinstance(tree, Tensor):
        moved = tree.detach().to("cpu")
        return moved.clone() if moved.data_ptr() == tree.data_ptr() else moved
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    return [copied(value) for value in tree] if isinstance(tree, (list, tuple)) else tree
