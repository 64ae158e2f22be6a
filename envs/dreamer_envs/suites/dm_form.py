"""Any `dm_env` environment as a Gymnasium env, with honest ends.

    dm_env                            Gymnasium
    last step, discount 0             terminated
    last step, discount above 0       truncated

DeepMind's Control Suite has a file of its own, since its state can be saved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs.errors import EnvOptionError
from dreamer_envs.images import Image, at_rate
from dreamer_envs.seeds import WIDE_SEED_LIMIT, simulator_seed


class DmEnv(gym.Env[Any, Any]):
    """A `dm_env.Environment`.

    Such environments take a seed when they are built, so a seeded reset builds the env anew.

    Args:
        build: makes the environment of a seed.
        draw: makes an image of it, uint8 `[H, W, 3]`; None if it cannot be drawn.
        render_mode: `rgb_array` or `None`.
        seed: of the env until a seeded reset; drawn at the first reset where it is None.

    Raises:
        EnvOptionError: another render mode, or any where there is no picture.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        build: Callable[[int], Any],
        draw: Callable[[Any], Image] | None = None,
        render_mode: str | None = None,
        seed: int | None = None,
    ) -> None:
        if render_mode is not None and (draw is None or render_mode != "rgb_array"):
            able = "use 'rgb_array'" if draw else "this env draws nothing"
            raise EnvOptionError(f"render_mode is {render_mode!r}: {able}.")
        self.render_mode = render_mode
        self._build, self._draw = build, draw
        self._own_seed = seed
        self._sim: Any = build(seed or 0)
        if hasattr(self._sim, "control_timestep"):
            self.metadata = at_rate(self.metadata, 1 / self._sim.control_timestep())
        self.observation_space = space_of(self._sim.observation_spec())
        self.action_space = space_of(self._sim.action_spec())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        if self._own_seed is None:
            seed = simulator_seed(self, seed)
        if seed is not None:
            self._sim.close()
            self._sim = self._build(seed % WIDE_SEED_LIMIT)
        return values_of(self._sim.reset().observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step."""
        now = self._sim.step(action)
        ended = bool(now.last())
        terminated = ended and now.discount == 0
        obs = values_of(now.observation)
        return obs, float(now.reward or 0.0), terminated, ended and not terminated, {}

    def render(self) -> Any:
        """The picture, uint8 `[H, W, 3]`."""
        return self._draw(self._sim) if self._draw else None

    def close(self) -> None:
        """Frees the environment."""
        self._sim.close()


def space_of(spec: Any) -> spaces.Space[Any]:
    """Space of a spec of `dm_env.specs`, or of a mapping of them."""
    if hasattr(spec, "items"):
        return spaces.Dict({str(key): space_of(part) for key, part in spec.items()})
    if hasattr(spec, "num_values"):
        return spaces.Discrete(int(spec.num_values))
    if spec.dtype == np.uint8 and len(spec.shape) == 3:
        return spaces.Box(0, 255, spec.shape, np.uint8)
    low, high = getattr(spec, "minimum", -np.inf), getattr(spec, "maximum", np.inf)
    low, high = (np.broadcast_to(bound, spec.shape).astype(np.float32) for bound in (low, high))
    return spaces.Box(low, high, dtype=np.float32)


def values_of(observation: Any) -> Any:
    """An observation as its space declares it: images as they are, all else float32."""
    if hasattr(observation, "items"):
        return {str(key): values_of(part) for key, part in observation.items()}
    array = np.asarray(observation)
    if array.dtype == np.uint8 and array.ndim == 3:
        return np.ascontiguousarray(array)
    return array.astype(np.float32)
