"""Which windows of the streams can be drawn, and in which order they go.

    stream of an env   0  1  2  3  4  5  6  7 ...      length 3
    windows           [0  1  2]
                         [1  2  3]        online       one per record, complete with its last
                            [2  3  4]
                                  [4  5  6]  online    the online ones do not overlap

Windows of all envs stand in one line in the order in which they became complete; beyond the
capacity the first in line goes. Drawing serves the online ones first, each once, then any window
with equal probability. Source: `embodied/core/replay.py`, danijar/dreamerv3 @ e3f0224.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

# A position names a record for ever: env * STREAM + number of the record in its env's stream.
STREAM = 1 << 40


class Windows:
    """The line of windows.

    Args:
        length: records in a window, context included. capacity: most windows kept.
        online: serve the freshest windows once each before any other.
    """

    def __init__(self, length: int, capacity: int, online: bool) -> None:
        self.length, self.capacity, self.online = length, capacity, online
        self._line = np.empty(capacity, np.int64)  # a ring; untouched pages take no memory
        self.clear()

    def clear(self) -> None:
        """Forget every window."""
        self._added = self._gone = 0
        self._queue: deque[int] = deque()

    def __len__(self) -> int:
        return self._added - self._gone

    def add(self, position: int) -> int | None:
        """Register the window that the record at `position` completes, if there is one.

        Returns:
            Position at which the window starts that had to go; None when none had to.
        """
        record = position % STREAM
        if record < self.length - 1:
            return None
        start = position - self.length + 1
        gone = self._drop_first() if len(self) == self.capacity else None
        self._line[self._added % self.capacity] = start
        self._added += 1
        if self.online and record % self.length == 0:
            self._queue.append(start)
        return gone

    def draw(self, count: int, rng: np.random.Generator) -> Int64:
        """Starts of `count` windows `[count]`: from the queue while it lasts, then uniform."""
        queued = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
        picked = rng.integers(self._gone, self._added, count - len(queued))
        uniform = self._line[picked % self.capacity]
        return np.concatenate([np.array(queued, np.int64), uniform])

    def _drop_first(self) -> int:
        first = int(self._line[self._gone % self.capacity])
        self._gone += 1
        # The queue keeps the order of the line, so only its first can be the one that goes.
        if self._queue and self._queue[0] == first:
            self._queue.popleft()
        return first

    def state_dict(self) -> dict[str, Any]:
        """The line and the queue as arrays of positions."""
        line = self._line[np.arange(self._gone, self._added) % self.capacity]
        return {"line": line, "queue": np.array(self._queue, np.int64)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.clear()
        line = np.asarray(state["line"], np.int64)
        self._added = len(line)
        self._line[: len(line)] = line
        self._queue.extend(np.asarray(state["queue"]).tolist())
