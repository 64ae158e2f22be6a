"""Where records are kept: one stream of segments per env, each frame once.

    env 0   [dead dead live live] [live live live live] [live live  -    - ]
                      tail                                        head
    env 1   [live live live live] [live  -    -    - ]      free  [ - ]

A segment holds as many records of one env as any other, every key in an array of its own, so a
window is copied in one or two pieces per key. Records are appended and never change, except for
their latents. A segment whose last record has died is used again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tensordict import TensorDict
from torch import Tensor
from torchrl.data.replay_buffers.storages import Storage

from dreamer_plugin import keys
from dreamer_plugin.data.fields import Field
from dreamer_plugin.data.frozen import FrozenStreams
from dreamer_plugin.data.segments import Allocate, Segment, in_memory
from dreamer_plugin.data.windows import STREAM, Int64, follows
from dreamer_plugin.errors import UsageError

SEGMENT = 1024  # records, where the capacity is not small
_FLAGS = (keys.IS_FIRST, keys.IS_LAST)  # in the order of the fields


def segment_length(capacity: int, num_envs: int, length: int) -> int:
    """Records per segment: few enough for the unused ends of all streams to be about 2 % of all."""
    return max(min(SEGMENT, capacity // (64 * num_envs)), length)


class SegmentStorage(Storage):  # type: ignore[misc]  # torchrl has no types
    """Streams of records in segments.

    Args:
        fields: of a record. num_envs: how many streams.
        capacity: windows kept, of `length` records each: what is alive is bounded by them.
        allocate: makes segments.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        num_envs: int,
        capacity: int,
        length: int,
        allocate: Allocate = in_memory,
    ) -> None:
        super().__init__(max_size=capacity + num_envs * (length - 1))
        self.fields, self.num_envs = tuple(fields), num_envs
        self.segment = segment_length(capacity, num_envs, length)
        self._flags = [i for i, f in enumerate(self.fields) if f.key in _FLAGS]
        self._make = allocate
        self.heads = [0] * self.num_envs  # the record that comes next
        self._empty()

    def _empty(self) -> None:
        # Numbers go on, at the next segment: a position that was given out means no other record.
        self.heads = [-(-head // self.segment) * self.segment for head in self.heads]
        self.tails = list(self.heads)  # the first that still lives
        self._segments: list[dict[int, Segment]] = [{} for _ in range(self.num_envs)]
        self._free: list[Segment] = []
        self._frozen: FrozenStreams | None = None

    def __len__(self) -> int:
        return sum(self.heads) - sum(self.tails)

    def append(self, envs: Sequence[int], rows: Sequence[np.ndarray]) -> Int64:
        """Append one record per entry of `envs`, in order.

        Args:
            envs: `[M]`, an env may occur more than once. rows: `[M, *shape]` per field.

        Returns:
            Their positions `[M]`.
        """
        self._make_room(envs)
        positions = np.empty(len(envs), np.int64)
        for i, env in enumerate(envs):
            record = self.heads[env]
            number, offset = divmod(record, self.segment)
            if offset == 0:
                self._segments[env][number] = self._free.pop()
            for target, source in zip(self._segments[env][number], rows, strict=True):
                target[offset] = source[i]
            self.heads[env] = record + 1
            positions[i] = env * STREAM + record
        return positions

    def _make_room(self, envs: Sequence[int]) -> None:
        """Have the segments that one record per entry of `envs` begins: all, or none is written."""
        needed = 0
        for env, count in Counter(envs).items():
            head = self.heads[env]
            needed += -(-(head + count) // self.segment) - -(-head // self.segment)
        while len(self._free) < needed:
            self._free.append(self._allocate())

    def release(self, position: int) -> None:
        """Give up this record and all of its env before it."""
        env, record = divmod(position, STREAM)
        dead = range(self.tails[env] // self.segment, (record + 1) // self.segment)
        self.tails[env] = record + 1
        gone = [self._segments[env].pop(number) for number in dead]
        if self._frozen is None:  # else they may still be read
            self._free += gone

    def flags(self, position: int) -> tuple[bool, bool]:
        """Whether a record is a first one, and whether it is a last one."""
        env, record = divmod(position, STREAM)
        number, offset = divmod(record, self.segment)
        segment = self._segments[env][number]
        is_first, is_last = (bool(segment[i][offset]) for i in self._flags)
        return is_first, is_last

    def get(self, index: Any) -> TensorDict:
        """Records by position.

        Args:
            index: one position, or any number of them of any shape; windows `[B, L]` of neighbours
                along L are copied in one piece. Or a slice or a mask of all records, env after env.

        Returns:
            TensorDict of the same batch shape, copied, with the positions under `index`.

        Raises:
            IndexError: for a record that is not, or no longer, there.
        """
        if isinstance(index, slice):
            index = self._positions()[index]
        index = torch.as_tensor(index)
        if index.dtype == torch.bool:
            index = torch.from_numpy(self._positions())[index]
        index = index.to(torch.int64)
        whole = index.ndim == 2 and index.shape[1] and follows(index).all()
        starts, length = (index[:, 0], index.shape[1]) if whole else (index.reshape(-1), 1)
        arrays = self._read(starts.tolist(), length)
        data: dict[str, Any] = {keys.OBS: {}, keys.INDEX: index}
        for field, array in zip(self.fields, arrays, strict=True):
            value = field.to_tensor(array.reshape((*index.shape, *field.shape)))
            if isinstance(field.key, tuple):
                data[field.key[0]][field.key[1]] = value
            else:
                data[field.key] = value
        data[keys.OBS] = TensorDict(data[keys.OBS], batch_size=index.shape)
        return TensorDict(data, batch_size=index.shape)

    def set(self, cursor: Any, data: Any, *, set_cursor: bool = True) -> None:
        """Refused: a record does not change; see `write` for its latents."""
        raise UsageError("records in replay do not change: use extend, or write_back for latents")

    def write(self, index: Tensor, values: Mapping[Any, Tensor]) -> None:
        """Overwrite fields of windows, passing over records that have gone.

        Args:
            index: positions `[B, L]`, copied in one piece where they are neighbours along L.
            values: `[B, L, *shape]` by key.

        Raises:
            UsageError: names the key that is of another shape, or what is wrong with its values.
        """
        fields = [field for field in self.fields if field.key in values]
        for field in fields:
            shape = values[field.key].shape
            if index.ndim != 2 or shape[:2] != index.shape:
                raise UsageError(
                    f"{field.name!r} is {list(shape)} for an index {list(index.shape)}: pass the "
                    "positions [B, L] of these very columns, for example batch['index'][:, 1:]"
                )
        batch = index.shape if follows(index).all() else (index.numel(), 1)
        columns = [self.fields.index(field) for field in fields]
        sources = [
            field.take(values[field.key].flatten(0, 1), field.dtype.is_floating_point).reshape(
                *batch, *field.shape
            )
            for field in fields
        ]
        for row, start in enumerate(index.reshape(batch)[:, 0].tolist()):
            env, record = divmod(start, STREAM)
            gone = min(max(self.tails[env] - record, 0), batch[1])
            there = min(batch[1], self.heads[env] - record)  # fewer than before a `load`
            for at, segment, part in self._pieces(start + gone, max(there - gone, 0)):
                if self._frozen is not None:
                    self._frozen.before_write(segment, part)
                for i, source in zip(columns, sources, strict=True):
                    segment[i][part] = source[row, gone + at : gone + at + part.stop - part.start]

    def contains(self, item: int) -> bool:
        """Whether the record at a position is there."""
        env, record = divmod(int(item), STREAM)
        return 0 <= env < self.num_envs and self.tails[env] <= record < self.heads[env]

    def _positions(self) -> Int64:
        ends = enumerate(zip(self.tails, self.heads, strict=True))
        return np.concatenate([np.arange(tail, head) + env * STREAM for env, (tail, head) in ends])

    def _read(self, starts: list[int], length: int) -> list[np.ndarray]:
        out = [field.empty(len(starts), length) for field in self.fields]
        for row, start in enumerate(starts):
            if not (self.contains(start) and self.contains(start + length - 1)):
                missing = f"no {length} records from" if length > 1 else "no record at"
                raise IndexError(
                    f"{missing} position {start} in replay: an index is a position, as extend "
                    "gives it; a slice counts records, as rb[:5]"
                )
            for at, segment, part in self._pieces(start, length):
                for target, source in zip(out, segment, strict=True):
                    target[row, at : at + part.stop - part.start] = source[part]
        return out

    def _pieces(self, start: int, length: int) -> list[tuple[int, Segment, slice]]:
        """A stretch as `(offset in the stretch, segment, slice of the segment)`."""
        env, record = divmod(start, STREAM)
        pieces, at = [], 0
        while at < length:
            number, offset = divmod(record + at, self.segment)
            count = min(length - at, self.segment - offset)
            pieces.append((at, self._segments[env][number], slice(offset, offset + count)))
            at += count
        return pieces

    def _allocate(self) -> Segment:
        try:
            return self._make(self.fields, self.segment)
        except MemoryError as error:
            raise UsageError(
                f"no memory for another {self.segment} records in replay, which holds "
                f"{len(self):,}; lower replay.capacity, or set replay.storage=disk"
            ) from error

    def freeze(self) -> FrozenStreams:
        """The segments as they are now, until `thaw`; one at a time."""
        self._frozen = FrozenStreams(self.fields, self.segment, self._filled())
        return self._frozen

    def thaw(self) -> None:
        """What `freeze` gave is not read any more."""
        self._frozen = None

    def counters(self) -> dict[str, Any]:
        """Length of a segment, and where each stream begins and ends."""
        return {
            "segment": self.segment,
            "heads": torch.tensor(self.heads),
            "tails": torch.tensor(self.tails),
        }

    def state_dict(self) -> dict[str, Any]:
        """Counters, and every segment's filled part by key, without a copy."""
        state = self.counters()
        for env, number, segment, filled in self._filled():
            for field, array in zip(self.fields, segment, strict=True):
                state[f"{env}/{number}/{field.name}"] = field.to_tensor(array[:filled])
        return state

    def _filled(self) -> Iterator[tuple[int, int, Segment, int]]:
        """Env, number, arrays and filled records of every segment."""
        for env, segments in enumerate(self._segments):
            for number, segment in segments.items():
                yield (
                    env,
                    number,
                    segment,
                    min(self.heads[env] - number * self.segment, self.segment),
                )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`; the values are copied, latents that are missing are zero."""
        self._empty()
        self.segment = int(state_dict["segment"])
        self.heads = state_dict["heads"].tolist()
        self.tails = state_dict["tails"].tolist()
        for env, (tail, head) in enumerate(zip(self.tails, self.heads, strict=True)):
            for number in range(tail // self.segment, -(-head // self.segment)):
                segment = self._allocate()
                for field, array in zip(self.fields, segment, strict=True):
                    name = f"{env}/{number}/{field.name}"
                    if field.is_latent and name not in state_dict:
                        array[:] = 0
                        continue
                    values = field.to_array(state_dict[name])
                    array[: len(values)] = values
                self._segments[env][number] = segment

    def dumps(self, path: Path) -> None:
        """Write the state into a folder."""
        dump(self.state_dict(), path)

    def loads(self, path: Path) -> None:
        """Read what `dumps` wrote."""
        self.load_state_dict(load(path))


def dump(state: dict[str, Any], path: Path) -> None:
    """State as `state.safetensors` and `state.json` in a folder."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in state.items() if name not in tensors}
    save_file(tensors, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(plain))


def load(path: Path) -> dict[str, Any]:
    """What `dump` wrote."""
    folder = Path(path)
    plain = json.loads((folder / "state.json").read_text())
    return plain | load_file(folder / "state.safetensors")
