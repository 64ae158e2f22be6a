"""Brax: the classic locomotion tasks in JAX."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.suites.jax_form import JaxEnv, of_physics, on_cpu
from dreamer_envs.transforms import ActionRepeat

BACKENDS = ("generalized", "positional", "spring", "mjx")


def make(
    task: str, backend: str = "generalized", length: int = 1000, action_repeat: int = 1
) -> gym.Env[Any, Any]:
    """Builds a task. A fall terminates where the task says so, the length truncates.

    Args:
        task: for example `ant`.
        backend: how the physics is computed: `generalized`, `positional`, `spring` or `mjx`.
        length: control steps after which an episode is truncated.
        action_repeat: times each action is applied.

    Raises:
        EnvOptionError: a bad value.
    """
    values.one_of(f"brax/{task}", backend=(backend, BACKENDS))
    values.at_least(f"brax/{task}", length=(length, 1))
    on_cpu()
    from brax import envs

    physics = envs.get_environment(task, backend=backend)

    seen = spaces.Box(-np.inf, np.inf, (int(physics.observation_size),), np.float32)
    actions = spaces.Box(-1.0, 1.0, (int(physics.action_size),), np.float32)
    env: gym.Env[Any, Any] = JaxEnv(*of_physics(physics), seen, actions, length)
    return ActionRepeat(env, action_repeat) if action_repeat != 1 else env
