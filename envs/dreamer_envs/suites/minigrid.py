"""MiniGrid and BabyAI: rooms of squares, seen as one-hot cells or as a picture.

The mission is a sentence, which an agent of numbers cannot read, so it stays out of the
observation; `info` has it at the first frame.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.transforms import shrink

OBS = ("symbolic", "pixels", "full")
TILE = 8  # pixels of a square before the picture is resized


class Rooms(gym.Env[Any, Any]):
    """A MiniGrid env without its sentence.

    Args:
        task: the id that MiniGrid registers, without its beginning.
        obs: `symbolic`: `cells` `[7, 7, 20]`, one-hot object, colour and state of the squares in
            view, and `direction`; `pixels`: a picture of these squares; `full`: of all squares.
        size: rows and columns of the picture.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: another observation or render mode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    beginning: ClassVar[str]  # of the ids

    def __init__(
        self,
        task: str,
        obs: str = "symbolic",
        size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        gym_id = f"{self.beginning}-{task}"
        values.one_of(gym_id, obs=(obs, OBS))
        values.drawing(gym_id, render_mode)
        self._rooms = _seen(gym_id, obs, render_mode)
        self.render_mode = render_mode
        self._size = 0 if obs == "symbolic" else size
        whole: Any = self._rooms.observation_space
        self.action_space = self._rooms.action_space
        if self._size:
            self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        else:
            cells = spaces.Box(0, 1, whole["image"].shape, np.float32)
            self.observation_space = spaces.Dict({"cells": cells, "direction": whole["direction"]})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; `info` has the mission."""
        super().reset(seed=seed)
        with contextlib.redirect_stdout(io.StringIO()):  # BabyAI tells which missions it rejects
            obs, info = self._rooms.reset(seed=seed)
        return self._convert(obs), {**info, "mission": obs["mission"]}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step."""
        obs, reward, terminated, truncated, info = self._rooms.step(action)
        return self._convert(obs), reward, terminated, truncated, info

    def render(self) -> Any:
        """The whole grid as a picture, uint8 `[H, W, 3]`."""
        return self._rooms.render()

    def close(self) -> None:
        """Closes the env."""
        self._rooms.close()

    def _convert(self, obs: dict[str, Any]) -> Any:
        if self._size:
            return shrink(obs["image"], self._size, gray=False)
        return {"cells": obs["image"].astype(np.float32), "direction": obs["direction"]}


class MiniGrid(Rooms):
    """`minigrid/<task>` is MiniGrid's id `MiniGrid-<task>`."""

    beginning = "MiniGrid"


class BabyAI(Rooms):
    """`babyai/<task>` is MiniGrid's id `BabyAI-<task>`."""

    beginning = "BabyAI"


def _seen(gym_id: str, obs: str, render_mode: str | None) -> gym.Env[Any, Any]:
    """The env in the package's own wrapper for what is seen."""
    from minigrid import wrappers  # and registers the ids

    env = gym.make(gym_id, render_mode=render_mode, disable_env_checker=True)
    if obs == "symbolic":
        return wrappers.OneHotPartialObsWrapper(env)
    kind = wrappers.RGBImgPartialObsWrapper if obs == "pixels" else wrappers.RGBImgObsWrapper
    return kind(env, tile_size=TILE)
