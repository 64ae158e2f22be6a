"""MuJoCo Playground: the Control Suite, walking robots and hands in JAX (MJX)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.errors import MissingPackageError
from dreamer_envs.suites.jax_form import JaxEnv, of_physics, on_cpu

ENGINES = ("jax", "warp")


def make(task: str, engine: str = "jax", privileged: bool = False) -> gym.Env[Any, Any]:
    """Builds a task. A fall terminates where the task says so, its own length truncates.

    Args:
        task: for example `CartpoleBalance`.
        engine: `jax`, or `warp`, which is meant for GPUs and compiles for minutes on a CPU.
        privileged: whether an agent also sees what only a simulator knows, where a task has that.

    Raises:
        EnvOptionError: another engine.
        MissingPackageError: the robot's model is not here and cannot be downloaded.
    """
    values.one_of(f"playground/{task}", engine=(engine, ENGINES))
    on_cpu()
    from mujoco_playground import registry

    try:
        physics = registry.load(task, config_overrides={"impl": engine})
    except Exception as error:
        if "menagerie" not in str(error):
            raise
        raise MissingPackageError(
            f"playground/{task} needs the robots of mujoco_menagerie, which the package clones "
            f"with git from GitHub when first asked; that failed ({error}). Tasks of the Control "
            "Suite, such as playground/CartpoleBalance, need none."
        ) from error

    sizes = physics.observation_size
    if not isinstance(sizes, dict):
        seen: spaces.Space[Any] = _numbers(sizes)
        look: Any = np.asarray
    else:
        names = [name for name in sizes if privileged or not name.startswith("privileged")]
        seen = spaces.Dict({name: _numbers(sizes[name]) for name in names})

        def look(obs: Any) -> Any:
            return {name: np.asarray(obs[name]) for name in names}

    actions = spaces.Box(-1.0, 1.0, (int(physics.action_size),), np.float32)
    return JaxEnv(*of_physics(physics), seen, actions, int(physics._config.episode_length), look)


def _numbers(size: Any) -> spaces.Box:
    """Space of an observation, whose size the package gives as a count or as a shape."""
    return spaces.Box(-np.inf, np.inf, (int(np.prod(size)),), np.float32)
