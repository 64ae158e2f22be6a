"""Environments written in JAX, one at a time, on the CPU.

Such an env is two functions, compiled once per task:

    start(key)                -> state, obs
    go_on(key, state, action) -> state, obs, reward, terminated

Processes that step envs leave the GPU to the learner: unless `JAX_PLATFORMS` says otherwise, JAX is
told to use the CPU before it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs.seeds import SEED_LIMIT


def on_cpu() -> None:
    """Keeps JAX away from the GPU; before its first import."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def of_physics(physics: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`start` and `go_on` of an env in Brax's form, whose state holds obs, reward and done."""

    def start(key: Any) -> Any:
        state = physics.reset(key)
        return state, state.obs

    def go_on(key: Any, state: Any, action: Any) -> Any:
        state = physics.step(state, action)
        return state, state.obs, state.reward, state.done

    return start, go_on


class JaxEnv(gym.Env[Any, Any]):
    """An env made of two functions of JAX.

    Args:
        start: see above. go_on: see above.
        observation_space: of what `look` returns.
        action_space: of the actions.
        length: steps after which an episode is truncated.
        look: from an observation of JAX to that of the space.
    """

    def __init__(
        self,
        start: Callable[..., Any],
        go_on: Callable[..., Any],
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        length: int,
        look: Callable[[Any], Any] = np.asarray,
    ) -> None:
        import jax

        # Keys are made inside of what is compiled: outside, one takes longer than a step of some.
        self._start = jax.jit(lambda number: start(jax.random.PRNGKey(number)))
        self._go_on = jax.jit(lambda number, *rest: go_on(jax.random.PRNGKey(number), *rest))
        self._length, self._look = length, look
        self.observation_space, self.action_space = observation_space, action_space
        self._state: Any = None
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode drawn from the env's own generator."""
        super().reset(seed=seed)
        self._state, obs = self._start(self._draw())
        self._steps = 0
        return self._look(obs), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; `terminated` where the env itself ends."""
        self._state, obs, reward, over = self._go_on(self._draw(), self._state, action)
        self._steps += 1
        terminated = bool(over)
        truncated = self._steps >= self._length and not terminated
        return self._look(obs), float(reward), terminated, truncated, {}

    def _draw(self) -> int:
        return int(self.np_random.integers(SEED_LIMIT))
