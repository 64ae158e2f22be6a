"""Craftax: Crafter in JAX (`classic`), and its larger successor with dungeons and magic."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.errors import MissingPackageError
from dreamer_envs.images import Image
from dreamer_envs.suites.jax_form import JaxEnv, on_cpu
from dreamer_envs.transforms import shrink

NEVER = 2**30  # steps: what is over before this is over for another reason than its length


def make(task: str, size: int = 64, length: int = 0) -> gym.Env[Any, Any]:
    """Builds a world. Death terminates, the limit of steps truncates.

    Args:
        task: `classic-symbolic`, `classic-pixels`, `symbolic` or `pixels`.
        size: rows and columns of the image.
        length: steps after which an episode is truncated; 0 for the game's own number.

    Raises:
        EnvOptionError: a negative length.
    """
    values.at_least(f"craftax/{task}", length=(length, 0))
    on_cpu()
    from craftax import craftax_env

    symbolic, classic = task.endswith("symbolic"), task.startswith("classic")
    try:
        game = craftax_env.make_craftax_env_from_params(classic, symbolic, auto_reset=False)
    except EOFError as error:  # the first use draws pictures for a minute and keeps them in a file
        raise MissingPackageError(
            f"craftax/{task}: the pictures that Craftax drew at its first use are damaged, as that "
            "was interrupted: delete its files texture_cache*.pbz2 and try again."
        ) from error
    own = game.default_params
    endless = own.replace(max_timesteps=NEVER)

    def start(key: Any) -> Any:
        obs, state = game.reset_env(key, endless)
        return state, obs

    def go_on(key: Any, state: Any, action: Any) -> Any:
        obs, state, reward, over, _ = game.step_env(key, state, action, endless)
        return state, obs, reward, over

    actions = spaces.Discrete(int(game.action_space(own).n))
    length = length or int(own.max_timesteps)
    if symbolic:
        seen = spaces.Box(-np.inf, np.inf, game.observation_space(own).shape, np.float32)
        return JaxEnv(start, go_on, seen, actions, length)

    def look(obs: Any) -> Image:
        return shrink((np.asarray(obs) * 255).round().astype(np.uint8), size, gray=False)

    image = spaces.Box(0, 255, (size, size, 3), np.uint8)
    return JaxEnv(start, go_on, image, actions, length, look)
