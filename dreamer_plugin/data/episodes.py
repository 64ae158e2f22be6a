"""Which pieces of complete episodes can be drawn, and in which order episodes go.

    stream of an env   0  1  2  3  4  5 | 6  7 | 8  9 ...      length 3
                       an episode         short  open
    pieces            [0  1  2]
                         [1  2  3]
                            [2  3  4]
                               [3  4  5]

An episode is drawn with equal probability, whatever its length n, then a start in it:

    start = min(U{0, ..., n - length + extra}, n - length)

    extra         plain   prioritized ends    of 12 records, length 5: plain, prioritized
    DreamerV2         0             length    0 to 7, 1/8 each    0 to 6, 1/13 each, and 7, 6/13
    DreamerV1        -1         length - 1    0 to 6, 1/7 each    0 to 6, 1/12 each, and 7, 5/12

Episodes of `length` records or fewer are never drawn, nor are those that go on. Where room is
needed the episode goes that was complete first, over all envs, and with it the short ones that
follow in its stream. The last one stays while another env has a longer open one, which loses its
first record instead, as one does where nothing is complete: such episodes are too long for the
capacity, and what is left of them can still be drawn when they end.

Source: `common/replay.py`, danijar/dreamerv2 @ 07d906e9, and `tools.py`, danijar/dreamer @
56d4d444. Their capacity counts complete episodes only; here all that is held counts, so that memory
is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dreamer_plugin.data.windows import STREAM, Int64

Flags = Callable[[int], tuple[bool, bool]]


class Episodes:
    """The line of complete episodes; used as `Windows` is.

    Args:
        length: records in a piece. capacity: most records held.
        num_envs: how many streams. extra: see above.
        flags: whether the record at a position is the first of an episode, and whether the last.
    """

    sampling, unit, online = "episodes", "records", False

    def __init__(self, length: int, capacity: int, num_envs: int, extra: int, flags: Flags) -> None:
        self.length, self.capacity, self.extra = length, capacity, extra
        self._num_envs, self._flags = num_envs, flags
        # A ring of episodes that can be drawn: position of the first record, number of records.
        self._ring = np.empty((_most(capacity, length), 2), np.int64)
        self.clear()

    def clear(self) -> None:
        """Forget every episode."""
        self._added = self._gone = self._starts = self._held = 0
        self._heads = [0] * self._num_envs  # records ever added, by env
        self._tails = [0] * self._num_envs  # the first that is still held
        self._opens = [0] * self._num_envs  # the first of the episode that goes on

    def __len__(self) -> int:
        """Different pieces that can be drawn."""
        return self._starts

    @property
    def lacking(self) -> str:
        """What is not there while nothing can be drawn."""
        return f"no complete episode of more than {self.length} yet"

    def add(self, position: int, tail: int) -> int | None:
        """Register a record, and the episode that it completes.

        Args:
            position: of the record. tail: number of the oldest record of its env that is there.

        Returns:
            Position of the last record of its env that is not needed any more; None where nothing
            changed.
        """
        env, record = divmod(position, STREAM)
        is_first, is_last = self._flags(position)
        if record == tail:  # nothing before it is there, or ever was
            self._heads[env] = self._tails[env] = self._opens[env] = record
        if is_first:
            self._close(env)  # an episode that a reset cut short
        self._heads[env] = record + 1
        self._held += 1
        if is_last:
            self._close(env)
        gone = self._release(env) if is_first or is_last else None
        # What was released above made room for the one record that came.
        return self._make_room() if gone is None and self._held > self.capacity else gone

    def draw(self, count: int, rng: np.random.Generator) -> Int64:
        """Starts of `count` pieces `[count]`."""
        numbers = rng.integers(self._gone, self._added, count)
        first, records = self._ring[numbers % len(self._ring)].T
        last = records - self.length
        return first + np.minimum(rng.integers(0, last + self.extra + 1), last)

    def _close(self, env: int) -> None:
        """The open episode of an env ends before its head."""
        start, self._opens[env] = self._opens[env], self._heads[env]
        self._append(env * STREAM + start, self._heads[env] - start)

    def _append(self, position: int, records: int) -> None:
        if records > self.length:
            self._ring[self._added % len(self._ring)] = position, records
            self._added += 1
            self._starts += self._places(records)

    def _places(self, records: int) -> int:
        return records - self.length + 1 + min(self.extra, 0)

    def _make_room(self) -> int | None:
        """Give the oldest episode up, or the first record of the longest open one."""
        sizes = [head - start for head, start in zip(self._heads, self._opens, strict=True)]
        count = self._added - self._gone
        if count:
            position, records = self._ring[self._gone % len(self._ring)].tolist()
            owner = position // STREAM
            sizes[owner] = 0  # of this stream nothing can go before the episode does
            if count > 1 or max(sizes) <= records:
                self._gone += 1
                self._starts -= self._places(records)
                return self._release(owner)
        env = sizes.index(max(sizes))
        self._opens[env] += 1
        return self._release(env)

    def _release(self, env: int) -> int | None:
        """Give up what no episode of an env needs at the start of its stream; as `add`."""
        first = self._live()[:, 0]
        own = first[first // STREAM == env]
        needed = int(own[0]) % STREAM if len(own) else self._opens[env]
        count, self._tails[env] = needed - self._tails[env], needed
        self._held -= count
        return env * STREAM + needed - 1 if count else None

    def _live(self) -> Int64:
        """Episodes that can be drawn, oldest first, `[E, 2]`."""
        return self._ring[np.arange(self._gone, self._added) % len(self._ring)]

    def held(self, state: dict[str, Any]) -> int:
        """Records held by what `state_dict` gave."""
        return int(np.sum(np.asarray(state["heads"]) - np.asarray(state["tails"])))

    def state_dict(self) -> dict[str, Any]:
        """The line as positions and numbers of records, and where each env stands."""
        line = self._live()
        counters = {"heads": self._heads, "tails": self._tails, "opens": self._opens}
        return {"line": line[:, 0].copy(), "records": line[:, 1].copy()} | {
            name: np.array(value, np.int64) for name, value in counters.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.clear()
        self._held = self.held(state)
        self._heads, self._tails, self._opens = (
            np.asarray(state[name]).tolist() for name in ("heads", "tails", "opens")
        )
        line = (np.asarray(state[name]).tolist() for name in ("line", "records"))
        for position, records in zip(*line, strict=True):
            self._append(position, records)


def episodes_bytes(capacity: int, length: int) -> int:
    """Memory of a full line."""
    return _most(capacity, length) * 2 * 8


def _most(capacity: int, length: int) -> int:
    """Episodes that can be held: the shortest have one record more than a piece."""
    return capacity // (length + 1) + 1
