"""EnvPool: environments in C++ that know Gym's, DeepMind's and Atari's names."""

from __future__ import annotations

import re
import warnings
from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs.errors import EnvOptionError
from dreamer_envs.names import fold

SEED_LIMIT = 2**31


class EnvPool(gym.Env[Any, Any]):
    """One env of EnvPool's, as EnvPool prepares it (its Atari is 4 stacked gray 84x84 frames).

    Args:
        task: EnvPool's id, for example `Pong-v5` or `WalkerWalk-v1`.
        kwargs: passed to `envpool.make`.

    Raises:
        EnvOptionError: an option that the env does not take.
    """

    def __init__(self, task: str, **kwargs: Any) -> None:
        self._task, self._kwargs = task, kwargs
        try:
            self._pool = self._build(0)
        except (TypeError, KeyError, AssertionError, RuntimeError) as error:
            raise EnvOptionError(
                f"EnvPool does not make {task!r} with {kwargs}: {error}."
            ) from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bounds of float64 that do not fit float32
            self.observation_space = _repaired(self._pool.observation_space)
            self.action_space = self._pool.action_space
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; a seed makes the pool anew, which takes none later."""
        super().reset(seed=seed)
        if seed is not None:
            self._pool.close()
            self._pool = self._build(seed % SEED_LIMIT)
        obs, _ = self._pool.reset()
        return _single(obs), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step."""
        native = np.asarray(action, self.action_space.dtype)[None]
        obs, reward, terminated, truncated, _ = self._pool.step(native)
        return _single(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def close(self) -> None:
        """Ends the pool's threads."""
        self._pool.close()

    def _build(self, seed: int) -> Any:
        import envpool

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return envpool.make(
                self._task, env_type="gymnasium", num_envs=1, seed=seed, **self._kwargs
            )


def match(text: str) -> str | None:
    """EnvPool's id that a text spells; without the package, anything that looks like one."""
    if find_spec("envpool") is None:
        return text if re.fullmatch(r"[\w/-]+-v\d+", text) else None
    known = tasks()
    wanted = fold(text)
    plain = {fold(task): task for task in known} | {
        fold(re.sub(r"-v\d+$", "", task)): task for task in known
    }
    return text if text in known else plain.get(wanted)


def tasks() -> list[str]:
    """All ids of the installed package; none without it."""
    if find_spec("envpool") is None:
        return []
    import envpool

    return sorted(envpool.list_all_envs())


def _single(obs: Any) -> Any:
    """The only env's part of a batch of observations."""
    return {key: value[0] for key, value in obs.items()} if isinstance(obs, dict) else obs[0]


def _repaired(space: Any) -> spaces.Space[Any]:
    """EnvPool calls the smallest positive number the lower bound of what has none."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _repaired(part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        low = np.where(space.low == np.finfo(np.float64).tiny, -np.inf, space.low)
        return spaces.Box(low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    return space
