"""The TorchRL env of a pipeline as the envs of a run."""

from __future__ import annotations

from dataclasses import dataclass

from dreamer_envs.frames import VectorEnv
from dreamer_plugin.interop.vector import TorchRLVector
from dreamer_plugin.run.envs import EnvSource


@dataclass(frozen=True)
class TorchRLSource(EnvSource):
    """Hands out the rows of a TorchRL env, which there is only once.

    Args:
        made: the env as a vector. frame_skip: simulator frames per step of it.
    """

    made: TorchRLVector | None = None
    frame_skip: int = 1

    def vector(self, seed: int, count: int | None = None) -> VectorEnv:
        """All rows of the env, seeded when it was made; it knows their number."""
        assert self.made is not None
        return self.made

    def action_repeat(self) -> int:
        """What the user says; a TorchRL env does not tell."""
        return self.frame_skip
