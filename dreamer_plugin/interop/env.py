"""Environments as TorchRL sees them, with room for a Dreamer's state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
from torchrl.envs import EnvBase

from dreamer_envs.frames import env_seed
from dreamer_plugin.agent import Agent
from dreamer_plugin.data.torchrl_collect import torchrl_env
from dreamer_plugin.spaces import Spaces


def dreamer_env(
    makers: Sequence[Callable[[], gym.Env[Any, Any]]],
    agent: Agent,
    spaces: Spaces,
    seed: int = 0,
    first: int = 0,
    processes: bool = False,
) -> EnvBase:
    """A TorchRL env `[N]` for `DreamerPolicy`.

    It marks resets with `is_init`, gives the agent's state as zeros at each, shows observations
    under `obs` and takes encoded actions.

    Args:
        makers: one per env, as `dreamer_envs.maker(id)`.
        agent: whose state it carries. spaces: of the envs.
        seed: env i starts as in `dreamer_envs.vector` with the same seed.
        first: number of the first env, where several collectors have some each.
        processes: one per env, a `ParallelEnv` instead of a `SerialEnv`.
    """
    latent = agent.world.rssm.latent
    return torchrl_env(
        makers,
        [env_seed(seed, first + i) for i in range(len(makers))],
        spaces,
        agent.world.rssm.core.deter,
        latent.storage_shape,
        latent.storage_dtype,
        first,
        processes,
    )
