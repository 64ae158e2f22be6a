"""Atari 2600 games on the emulator's own interface, prepared as the published agents saw them.

    step:   action applied `action_repeat` times, rewards added
    image:  maximum of the last `pool` frames -> PIL bilinear resize -> gray

`ale_py` is GPL-2.0: it is imported here when a game is made and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.errors import EnvOptionError
from dreamer_envs.images import Image, Resizer, at_rate
from dreamer_envs.names import fold
from dreamer_envs.seeds import SEED_LIMIT
from dreamer_envs.suites.atari_screen import Screen
from dreamer_envs.transforms import shrink

ACTIONS = ("all", "minimal")
LIVES = ("unused", "reset")
NOOP = 0


def preprocess(frames: Sequence[Image], size: int, gray: bool) -> Image:
    """Image that the agent sees of the last frames.

    Args:
        frames: uint8 `[210, 160, 3]` each, at least one.
        size: rows and columns of the result.
        gray: whether to keep the luma only, taken after the resize.

    Returns:
        uint8 `[size, size, 1 or 3]`. Source: official DreamerV3 code, `embodied/envs/atari.py`.
    """
    return shrink(brightest(frames), size, gray)


def brightest(frames: Sequence[Image]) -> Image:
    """Each pixel at its maximum over some frames, at least one."""
    pooled = frames[0]
    for frame in frames[1:]:
        pooled = np.maximum(pooled, frame)
    return pooled


class Atari(gym.Env[Image, Any]):
    """One game. Rewards are the game's own; `terminated` means it is over, `truncated` the limit.

    Args:
        task: the game, for example `Pong`.
        size: rows and columns of the image.
        gray: gray image `[size, size, 1]` instead of RGB.
        sticky: probability, at each frame, that the last frame's action is applied again.
        actions: `all` 18 of the console, or the `minimal` set of the game.
        noops: a reset does 0 to this many frames of nothing, drawn uniformly.
        action_repeat: frames per step.
        pool: frames whose maximum is shown; hides sprites that flicker.
        length: frames after which an episode is truncated.
        lives: `unused`, or `reset` where a lost life ends the episode, and the game with it.
        render_mode: `rgb_array` or `None`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}
    can_save = True

    def __init__(
        self,
        task: str,
        size: int = 96,
        gray: bool = True,
        sticky: float = 0.25,
        actions: str = "all",
        noops: int = 30,
        action_repeat: int = 4,
        pool: int = 2,
        length: int = 108_000,
        lives: str = "unused",
        render_mode: str | None = None,
    ) -> None:
        values.one_of(task, actions=(actions, ACTIONS), lives=(lives, LIVES))
        values.at_least(
            task,
            action_repeat=(action_repeat, 1),
            pool=(pool, 1),
            noops=(noops, 0),
            length=(length, 1),
        )
        values.drawing(task, render_mode)
        if not 0.0 <= sticky <= 1.0:
            raise EnvOptionError(f"sticky is {sticky} for {task}; it is a probability.")
        self.action_repeat = action_repeat
        self.metadata = at_rate(self.metadata, 60 / action_repeat)
        self.render_mode = render_mode
        self._sticky = sticky
        self._resize = Resizer(size, size, gray)
        self._noops, self._length, self._pool = noops, length, pool
        self._mortal = lives == "reset"
        self._rom = _rom_path(task)
        self._ale = _emulator()
        self._ale.loadROM(self._rom)
        full = actions == "all"
        ale = self._ale
        self._actions = ale.getLegalActionSet() if full else ale.getMinimalActionSet()
        self._screen = Screen(ale, pool)
        self._time = 0
        self._held = NOOP
        self.action_space = spaces.Discrete(len(self._actions))
        self.observation_space = spaces.Box(0, 255, (size, size, 1 if gray else 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """Starts a game; a seed also restarts the console, whose memory begins with random bits."""
        super().reset(seed=seed)
        if seed is not None:
            self._ale.setInt("random_seed", seed % SEED_LIMIT)
            self._ale.loadROM(self._rom)
        self._ale.reset_game()
        for _ in range(int(self.np_random.integers(self._noops + 1))):
            self._ale.act(NOOP)
            if self._ale.game_over():
                self._ale.reset_game()
        self._time, self._held = 0, NOOP
        for _ in range(self._pool):
            self._screen.look()
        return self._image(), {"lives": self._ale.lives()}

    def step(self, action: int) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """Applies an action for `action_repeat` frames, fewer if the episode ends on the way."""
        reward, lives = 0.0, self._ale.lives()
        # Sticky actions are drawn here: the emulator leaves its own out of the states it saves.
        hold = self.np_random.random(self.action_repeat) < self._sticky
        terminated = truncated = False
        for i in range(self.action_repeat):
            self._held = self._held if hold[i] else int(action)
            reward += self._ale.act(self._actions[self._held])
            self._time += 1
            if i >= self.action_repeat - self._pool:
                self._screen.look()
            lost = self._mortal and self._ale.lives() < lives
            terminated, truncated = lost or self._ale.game_over(), self._time >= self._length
            if terminated or truncated:
                break
        info = {"lives": self._ale.lives()}
        return self._image(), reward, terminated, truncated and not terminated, info

    def render(self) -> Any:
        """The screen, uint8 `[210, 160, 3]`."""
        return self._screen.frames[-1]

    def get_state(self) -> dict[str, Any]:
        """Console, last frames, clock and held action."""
        console = np.frombuffer(self._ale.cloneSystemState().serialize(), np.uint8).copy()
        frames = self._screen.frames
        return {"console": console, "frames": frames, "time": self._time, "held": self._held}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Goes back to a state of `get_state` of the same game."""
        import ale_py

        self._ale.restoreSystemState(ale_py.ALEState(saved["console"].tobytes()))
        self._screen.frames = saved["frames"]
        self._time, self._held = saved["time"], saved["held"]

    def _image(self) -> Image:
        # What `preprocess` gives, sooner.
        return self._resize(*self._screen.pooled())


def _emulator() -> Any:
    import ale_py

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("frame_skip", 1)
    return ale


def _rom_path(task: str) -> Any:
    from ale_py import roms

    ids = {fold(rom): rom for rom in roms.get_all_rom_ids()}
    if fold(task) not in ids:
        raise EnvOptionError(f"ale-py has no game {task!r}; `dreamer-plugin envs atari` lists all.")
    return roms.get_rom_path(ids[fold(task)])
