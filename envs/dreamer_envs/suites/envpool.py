"""EnvPool: environments in C++ that know Gym's, DeepMind's and Atari's names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dreamer_envs.errors import EnvOptionError
from dreamer_envs.names import fold
from dreamer_envs.pool import Ids, Rows
from dreamer_envs.seeds import SEED_LIMIT, simulator_seed


class Pool:
    """Several envs of one task, stepped by EnvPool's threads.

    Args:
        task: EnvPool's id, for example `Pong-v5` or `WalkerWalk-v1`.
        seeds: one per env, which has with it the episodes that it has alone.
        kwargs: passed to `envpool.make`.

    Attributes:
        over: bool `[N]`, whose episode is over, so that a step begins the next.

    Raises:
        EnvOptionError: an option that the env does not take.
    """

    def __init__(self, task: str, seeds: Sequence[int], **kwargs: Any) -> None:
        import envpool

        count = len(seeds)
        self.over = np.zeros(count, np.bool_)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # bounds of float64 that do not fit float32
                # `batch_size` is said so that nobody else can: a smaller one steps without order.
                self._pool = envpool.make(
                    task,
                    env_type="gymnasium",
                    num_envs=count,
                    batch_size=count,
                    seed=[seed % SEED_LIMIT for seed in seeds],
                    **kwargs,
                )
                self.observation_space = _repaired(self._pool.observation_space)
                self.action_space = self._pool.action_space
        except (TypeError, KeyError, AssertionError, RuntimeError) as error:
            raise EnvOptionError(
                f"EnvPool does not make {task!r} with {kwargs}: {error}."
            ) from error

    def reset(self, ids: Ids) -> Rows:
        """Begins an episode of these envs, also inside of one."""
        obs, info = self._pool.reset(ids)
        self.over[ids] = False
        found, none = info["env_id"], np.zeros(len(ids), np.bool_)
        return Rows(found, obs, np.zeros(len(ids), np.float32), none, none, ~none)

    def step(self, actions: NDArray[Any], ids: Ids) -> Rows:
        """Steps these envs; one whose episode is over begins the next and reads no action."""
        obs, reward, terminated, truncated, info = self._pool.step(actions, ids)
        found = info["env_id"]
        # Atari's `episodic_life` counts its steps on into the next episode.
        begins = self.over[found] | (info["elapsed_step"] == 0)
        self.over[found] = (terminated | truncated) & ~begins
        return Rows(found, obs, reward, terminated, truncated, begins)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.close()


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
        self._pool = Pool(task, [0], **kwargs)
        self.observation_space = self._pool.observation_space
        self.action_space = self._pool.action_space
        self._idle = np.zeros((1, *(self.action_space.shape or ())), self.action_space.dtype)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; a seed makes the pool anew, which takes none later."""
        super().reset(seed=seed)
        seed = simulator_seed(self, seed)
        if seed is not None:
            self._pool.close()
            self._pool = Pool(self._task, [seed], **self._kwargs)
        # With Atari's `episodic_life` a step goes on with the next life, a reset ends the game.
        over = bool(self._pool.over[0])
        rows = self._pool.step(self._idle, ONLY) if over else self._pool.reset(ONLY)
        return _single(rows.obs), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step."""
        rows = self._pool.step(np.asarray(action, self.action_space.dtype)[None], ONLY)
        ends = bool(rows.terminated[0]), bool(rows.truncated[0])
        return _single(rows.obs), float(rows.reward[0]), *ends, {}

    def close(self) -> None:
        """Ends the pool's threads."""
        self._pool.close()


ONLY: Ids = np.zeros(1, np.int32)


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
