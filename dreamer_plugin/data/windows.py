"""Which windows of the streams can be drawn, and in which order they go.

    stream of an env   0  1  2  3  4  5  6  7 ...      length 3
    windows           [0  1  2]
                         [1  2  3]        online       one per record, complete with its last
                            [2  3  4]
                                  [4  5  6]  online    the online ones do not overlap

Windows of all envs stand in one line in the order in which they became complete; beyond the
capacity the first in line goes. Drawing serves the online ones first, each once, then any window
with equal probability. Source: `embodied/core/replay.py`, danijar/dreamerv3 @ e3f0224.

The line keeps one byte per window, its env: the windows of an env follow each other, so the second
of env 1 after one that starts at record 7 starts at record 8. Where the first of each env starts is
noted for every block of the line.

    line     0  1  1  0 | 0  1  1  1       blocks of 4, two envs
    marks    0: 5, 1: 7 | 0: 7, 1: 9       starts    5  7  8  6 | 7  9 10 11
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

Int64 = npt.NDArray[np.int64]

# A position names a record for ever: env * STREAM + number of the record in its env's stream.
STREAM = 1 << 40
BLOCK = 1024  # windows, where the envs are not many


class Windows:
    """The line of windows.

    Args:
        length: records in a window, context included. capacity: most windows kept.
        online: serve the freshest windows once each before any other.
        num_envs: how many streams.
    """

    sampling, unit = "windows", "windows"  # how it is chosen, and what the capacity counts

    def __init__(self, length: int, capacity: int, online: bool, num_envs: int) -> None:
        self.length, self.capacity, self.online = length, capacity, online
        blocks, self._block = _line_shape(capacity, num_envs)
        # A ring of blocks; untouched pages take no memory.
        self._line = np.empty((blocks, self._block), _env_type(num_envs))
        self._marks = np.empty((blocks, num_envs), np.int64)
        self.clear()

    def clear(self) -> None:
        """Forget every window."""
        self._added = self._gone = 0
        self._marked = [-1] * self._marks.shape[1]  # the last block with a mark, by env
        self._queue: deque[int] = deque()

    def __len__(self) -> int:
        return self._added - self._gone

    @property
    def lacking(self) -> str:
        """What is not there while nothing can be drawn."""
        return f"no window of {self.length} yet"

    def add(self, position: int, tail: int) -> int | None:
        """Register the window that the record at `position` completes, if there is one.

        Args:
            position: of the record. tail: number of the oldest record of its env that is there.

        Returns:
            Position at which the window starts that had to go, so of the last record of its env
            that is not needed any more; None when none had to.
        """
        record = position % STREAM - tail
        if record < self.length - 1:
            return None
        start = position - self.length + 1
        gone = self._drop_first() if len(self) == self.capacity else None
        self._append(start)
        if self.online and position % STREAM % self.length == 0:
            self._queue.append(start)
        return gone

    def draw(self, count: int, rng: np.random.Generator) -> Int64:
        """Starts of `count` windows `[count]`: from the queue while it lasts, then uniform."""
        queued = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
        picked = rng.integers(self._gone, self._added, count - len(queued))
        return np.array(queued + [self._start(number) for number in picked.tolist()], np.int64)

    def _append(self, start: int) -> None:
        env = start // STREAM
        block, offset = divmod(self._added, self._block)
        row = block % len(self._line)
        self._line[row, offset] = env
        if self._marked[env] != block:
            self._marked[env], self._marks[row, env] = block, start
        self._added += 1

    def _start(self, number: int) -> int:
        """Where a window starts, by its number in the line."""
        block, offset = divmod(number, self._block)
        row = block % len(self._line)
        env = self._line[row, offset]
        return int(self._marks[row, env] + np.count_nonzero(self._line[row, :offset] == env))

    def _drop_first(self) -> int:
        first = self._start(self._gone)
        self._gone += 1
        # The queue keeps the order of the line, so only its first can be the one that goes.
        if self._queue and self._queue[0] == first:
            self._queue.popleft()
        return first

    def held(self, state: dict[str, Any]) -> int:
        """Windows held by what `state_dict` gave."""
        return len(state["line"])

    def state_dict(self) -> dict[str, Any]:
        """The line and the queue as arrays of positions."""
        numbers = np.arange(self._gone, self._added)
        envs = self._line.reshape(-1)[numbers % self._line.size]
        line = np.empty(len(numbers), np.int64)
        for env in np.unique(envs):
            own = np.flatnonzero(envs == env)
            line[own] = self._start(int(numbers[own[0]])) + np.arange(len(own))
        return {"line": line, "queue": np.array(self._queue, np.int64)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.clear()
        for start in np.asarray(state["line"], np.int64).tolist():
            self._append(start)
        self._queue.extend(np.asarray(state["queue"]).tolist())


def follows(index: Tensor) -> Tensor:
    """Whether a position names the record right after the one before it: `[B, L]` -> `[B, L-1]`."""
    return index[:, 1:] == index[:, :-1] + 1


def line_bytes(capacity: int, num_envs: int) -> int:
    """Memory of a full line."""
    blocks, block = _line_shape(capacity, num_envs)
    return blocks * (block * _env_type(num_envs).itemsize + 8 * num_envs)


def _line_shape(capacity: int, num_envs: int) -> tuple[int, int]:
    """Blocks and windows per block: the ends of a full line lie in two blocks of their own."""
    block = max(BLOCK, 64 * num_envs)  # so that marks take an eighth of a byte per window
    return capacity // block + 2, block


def _env_type(num_envs: int) -> np.dtype[Any]:
    return np.dtype(np.min_scalar_type(num_envs - 1))
