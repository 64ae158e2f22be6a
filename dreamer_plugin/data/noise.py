"""Noise for decisions: one stream of numbers per env, so that envs do not disturb each other.

A policy is a pure function of what it sees and of its noise. Which numbers an env's decisions take
depends only on the seed, the env and how many decisions it has made, not on how many envs there are
or on which loop steps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamer_plugin.errors import UsageError


class NoiseStreams:
    """Uniform numbers in [0, 1), one generator per env.

    Args:
        seed: of all streams. num_envs: N. size: numbers that one decision takes.
        first: number of the first env, where several policies act in some each.
    """

    def __init__(self, seed: int, num_envs: int, size: int, first: int = 0) -> None:
        self.size = size
        children = np.random.SeedSequence([seed, 1]).spawn(first + num_envs)[first:]
        self._streams = [np.random.Generator(np.random.PCG64(child)) for child in children]

    def draw(self, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Noise of one decision of each chosen env.

        Args:
            rows: `[N]`, where the policy really acts: not at last frames.

        Returns:
            `[N, size]`, zeros in the other rows, whose streams do not move.

        Raises:
            UsageError: for more or fewer envs than streams.
        """
        if len(rows) != len(self._streams):
            raise UsageError(
                f"{len(rows)} envs, but noise of {len(self._streams)}: make them alike"
            )
        noise = np.zeros((len(self._streams), self.size), np.float32)
        for row in np.flatnonzero(rows):
            self._streams[row].random(dtype=np.float32, out=noise[row])
        return noise

    def state_dict(self) -> dict[str, Any]:
        """JSON-able; integers have up to 128 bits."""
        return {"streams": [stream.bit_generator.state for stream in self._streams]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for stream, saved in zip(self._streams, state["streams"], strict=True):
            stream.bit_generator.state = saved
