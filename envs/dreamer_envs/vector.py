"""Several environments as one: here, in processes of their own, or on threads of their library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dreamer_envs.errors import EnvError, EnvsError, FrameError
from dreamer_envs.frames import (
    AnyEnv,
    Bools,
    Frames,
    Make,
    VectorEnv,
    advance,
    check_same,
    common_space,
    saver,
)
from dreamer_envs.pool import PoolVector, pool_of
from dreamer_envs.supervised import SupervisedVector
from dreamer_envs.supervision import Fault, Supervision
from dreamer_envs.workers import ProcessVector

__all__ = [
    "Fault",
    "Frames",
    "PoolVector",
    "ProcessVector",
    "SerialVector",
    "SupervisedVector",
    "Supervision",
    "VectorEnv",
    "pool_of",
]


class SerialVector(VectorEnv):
    """Steps the envs one after another in this process.

    Args:
        makers: one callable per env; `dreamer_envs.maker(id)` is one.
        seed: env i starts with the i-th seed derived from it (`env_seed`).
    """

    def __init__(self, makers: Sequence[Make], seed: int = 0) -> None:
        super().__init__(makers, seed)
        self.envs: list[AnyEnv] = []
        try:
            self.envs += (maker() for maker in makers)
            self.observation_space = common_space(self.envs[0])
            self.action_space = self.envs[0].action_space
            self.can_save = all(getattr(env, "can_save", False) for env in self.envs)
            check_same(self.ids, [(env.observation_space, env.action_space) for env in self.envs])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the envs."""
        for env in self.envs:
            env.close()
        self.envs = []

    def _step(self, actions: Sequence[Any], reset: Bools) -> Frames:
        if not self.envs:
            raise EnvError("This vector is closed.")
        frames = Frames.empty(self.observation_space, self.num_envs)
        for i, env in enumerate(self.envs):
            try:
                advance(env, actions[i], bool(reset[i]), self._seeds[i], frames, i)
            except FrameError as error:
                raise EnvError(f"Env {i} ({self.ids[i]}) failed: {error}") from error
            except EnvsError:
                raise
            except Exception as error:
                raise EnvError(
                    f"Env {i} ({self.ids[i]}) failed: {type(error).__name__}: {error}"
                ) from error
        return frames

    def _get_states(self) -> list[Any]:
        return [saver(env).get_state() for env in self.envs]

    def _set_states(self, states: list[Any]) -> None:
        for env, saved in zip(self.envs, states, strict=True):
            saver(env).set_state(saved)
