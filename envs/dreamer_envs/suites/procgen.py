"""Procgen: sixteen games whose levels are generated, on gym3's interface.

gym3 starts the next level in the step that ends one, and the last frame of a level is never
seen:      act(a) -> reward of the last step, first = 1, picture of the NEXT level
so here:   step(a) -> that reward, the end, the picture before; reset() -> the next level's
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.images import Image
from dreamer_envs.seeds import SEED_LIMIT, simulator_seed
from dreamer_envs.transforms import shrink

MODES = ("easy", "hard", "extreme", "memory", "exploration")
ACTIONS = 15
OWN_SIZE = 64  # rows and columns of the picture that the game makes for agents
NEW_LEVEL = -1  # the action that ends a level
# Steps after which the game itself cuts a level; source: openai/procgen, procgen/src/games.
LENGTHS = {"bigfish": 6000, "bossfight": 4000, "leaper": 500, "maze": 500, "plunder": 4000}
USUAL_LENGTH = 1000
JUMPER_MEMORY_LENGTH = 2000


class Procgen(gym.Env[Image, Any]):
    """One game. `terminated` means won or lost, `truncated` the game's own limit of steps.

    Args:
        task: the game, for example `coinrun`.
        size: rows and columns of the image. 64 is the game's own picture; any other is the picture
            of 512x512 for people, resized, as the official DreamerV3 code does at 96.
        mode: `easy` or `hard`, and for some games `extreme`, `memory`, `exploration`.
        levels: how many levels there are; 0 for no limit.
        start_level: number of the first.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}
    can_save = True

    def __init__(
        self,
        task: str,
        size: int = 96,
        mode: str = "hard",
        levels: int = 0,
        start_level: int = 0,
        render_mode: str | None = None,
    ) -> None:
        who = f"procgen/{task}"
        values.one_of(who, mode=(mode, MODES))
        values.at_least(who, levels=(levels, 0))
        values.drawing(who, render_mode)
        self.render_mode = render_mode
        self._size, self._large = size, size != OWN_SIZE or render_mode is not None
        self._length = LENGTHS.get(task, USUAL_LENGTH)
        if (task, mode) == ("jumper", "memory"):
            self._length = JUMPER_MEMORY_LENGTH
        self._settings = {
            "num": 1,
            "env_name": task,
            "distribution_mode": mode,
            "start_level": start_level,
            "num_threads": 0,
            "render_mode": "rgb_array" if self._large else None,
        }
        if mode != "exploration":  # which has one level
            self._settings["num_levels"] = levels
        self._game = self._start(0)
        self._steps, self._fresh = 0, True
        self._image = self._look(self._game.get_info()[0])
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = spaces.Discrete(ACTIONS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """Starts a level; a seed starts the whole series of levels anew."""
        super().reset(seed=seed)
        seed = simulator_seed(self, seed)
        if seed is not None:
            self._game.close()
            self._game = self._start(seed % SEED_LIMIT)
        elif not self._fresh:
            self._game.act(np.array([NEW_LEVEL], np.int32))
        self._steps, self._fresh = 0, False
        info = self._game.get_info()[0]
        self._image = self._look(info)
        return self._image, {"level": int(info["level_seed"])}

    def step(self, action: int) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """One step; `info` tells whether the level was won."""
        self._game.act(np.array([int(action)], np.int32))
        reward, _, first = self._game.observe()
        self._steps += 1
        self._fresh = ended = bool(first[0])
        info = self._game.get_info()[0]
        won = bool(info["prev_level_complete"])
        truncated = ended and not won and self._steps >= self._length
        if not ended:
            self._image = self._look(info)
        return self._image, float(reward[0]), ended and not truncated, truncated, {"won": won}

    def render(self) -> Any:
        """The picture for people, uint8 `[512, 512, 3]`."""
        return self._game.get_info()[0]["rgb"]

    def close(self) -> None:
        """Frees the game."""
        self._game.close()

    def get_state(self) -> dict[str, Any]:
        """The game's own bytes, the clock and the last picture."""
        game = np.frombuffer(self._game.get_state()[0], np.uint8)
        return {"game": game, "steps": self._steps, "fresh": self._fresh, "image": self._image}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Goes back to a state of `get_state` of the same game and settings."""
        self._game.set_state([saved["game"].tobytes()])
        self._steps, self._fresh = saved["steps"], saved["fresh"]
        self._image = saved["image"]

    def _start(self, seed: int) -> Any:
        from procgen import ProcgenGym3Env

        return ProcgenGym3Env(**self._settings, rand_seed=seed)

    def _look(self, info: dict[str, Any]) -> Image:
        if self._size == OWN_SIZE:
            small: Image = self._game.observe()[1]["rgb"][0].copy()
            return small
        return shrink(info["rgb"], self._size, gray=False)
