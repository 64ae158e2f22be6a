"""Keeping what an agent saw and did while it played, for a closer look afterwards."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from tensordict import TensorDict

from dreamer_plugin.data.fields import ENV

_KEPT = ("obs", "action", "reward", "is_first", "is_last", "is_terminal")


class Recorder:
    """The first records of every env, in memory; takes the place of a replay.

    Args:
        records: to keep in all, the same number of each env.
        film: to keep of the first episode of the first env at least.
    """

    def __init__(self, records: int, film: int = 0) -> None:
        self.records, self.film = records, film
        self._kept: list[TensorDict] = []
        self._rows: list[list[int]] = []  # whose they are
        self._length: Counter[int] = Counter()

    def extend(self, data: TensorDict) -> None:
        """Take one record `[N]` of each of N envs, fewer with their numbers under `env`."""
        envs = data[ENV].tolist() if ENV in data.keys() else list(range(len(data)))
        each = self._of_each(max([*self._length, *envs], default=0) + 1)
        rows = [
            row
            for row, env in enumerate(envs)
            if self._length[env] < (max(each, self.film) if env == 0 else each)
        ]
        if rows:
            self._kept.append(data.select(*_KEPT)[rows].clone())
            self._rows.append([envs[row] for row in rows])
            self._length.update(self._rows[-1])

    def episodes(self) -> list[TensorDict]:
        """Records `[T]` of each episode in the order of the envs; the last of an env may be cut."""
        streams = self._streams()
        each = self._of_each(len(streams))
        return [episode for stream in streams for episode in _split(stream[:each])]

    def filmed(self) -> TensorDict:
        """Records `[T]` of the first episode of the first env, as far as they were kept."""
        return _split(self._streams()[0])[0]

    def _of_each(self, envs: int) -> int:
        """Records of each of so many envs."""
        return -(-self.records // max(envs, 1))

    def _streams(self) -> list[TensorDict]:
        """What was kept of each env, `[T]`."""
        if not self._kept:
            return []
        records, row = torch.cat(self._kept), np.concatenate(self._rows)
        return [records[torch.from_numpy(row == env)] for env in range(row.max() + 1)]


def _split(stream: TensorDict) -> list[TensorDict]:
    """Records of one env `[T]`, cut before each reset."""
    starts = torch.nonzero(stream["is_first"]).flatten().tolist()
    return [stream[a:b] for a, b in zip(starts, [*starts[1:], len(stream)], strict=True)]
