"""Minetest, an open world of blocks seen from within, on Debian's own packages.

    task        +1 for
    treechop    each log that is taken from a tree; episodes begin near one
    dig         each block that is dug
    explore     each square of 4 x 4 blocks that was not entered before in the episode

The game runs in real time, so the same seed and actions do not give the same episode.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from dreamer_envs import values
from dreamer_envs.errors import EnvError
from dreamer_envs.images import Image, resize
from dreamer_envs.minetest.game import Game, Settings, find_programs
from dreamer_envs.minetest.hands import DIG
from dreamer_envs.minetest.link import State

TURN = 15  # degrees
PITCH = 60  # degrees, up and down; Dreamer's limit in Minecraft


class Action(NamedTuple):
    """Keys that are held, and degrees to turn by."""

    keys: tuple[str, ...] = ()
    right: int = 0
    down: int = 0


ACTIONS = {
    "noop": Action(),
    "forward": Action(("w",)),
    "back": Action(("s",)),
    "left": Action(("a",)),
    "right": Action(("d",)),
    "jump": Action(("w", "space")),
    "look_left": Action(right=-TURN),
    "look_right": Action(right=TURN),
    "look_up": Action(down=-TURN),
    "look_down": Action(down=TURN),
    "dig": Action((DIG,)),
}


def spaces_of(task: str, size: int = 64, **_: Any) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """Observation and action space, without a start of the game.

    Raises:
        MissingPackageError: one of the game's programs is not installed.
    """
    find_programs(f"minetest/{task}")
    return spaces.Box(0, 255, (size, size, 3), np.uint8), spaces.Discrete(len(ACTIONS))


class Minetest(gym.Env[Image, Any]):
    """One world with one agent. Nothing ends an episode but its length, which truncates.

    A reset puts the agent elsewhere in the same world, with empty hands; what it changed is undone.
    After an error the next reset starts the game anew.

    Args:
        task: `treechop`, `dig` or `explore`.
        size: rows and columns of the image.
        length: steps after which an episode is truncated.
        step_ms: milliseconds of the game's time in a step; it takes at least as long.
        dig_speed: times faster than the game's own hand, as in Dreamer's Minecraft.
        world: seed of the map.
        patience: seconds that a step may take; a reset may take twice as long, starting four times.
        render_mode: `rgb_array` or `None`.

    Raises:
        MissingPackageError: one of the game's programs is not installed.
        EnvError: the game does not start.
        EnvOptionError: a bad value.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        task: str,
        size: int = 64,
        length: int = 2000,
        step_ms: int = 50,
        dig_speed: float = 100.0,
        world: int = 1,
        patience: float = 25.0,
        render_mode: str | None = None,
    ) -> None:
        self._who = f"minetest/{task}"
        values.drawing(self._who, render_mode)
        values.at_least(self._who, size=(size, 1), length=(length, 1), step_ms=(step_ms, 1))
        values.positive(self._who, dig_speed=dig_speed, patience=patience)
        self.render_mode = render_mode
        # Tells Gymnasium's checker not to expect the same frames of the same actions.
        self.spec = EnvSpec(
            f"{self._who}-v0",
            entry_point=f"{__name__}:{type(self).__name__}",
            kwargs={
                "task": task, "size": size, "length": length, "step_ms": step_ms,
                "dig_speed": dig_speed, "world": world, "patience": patience,
            },
            nondeterministic=True,
        )  # fmt: skip
        self._size, self._length = size, length
        self._settings = Settings(task, world, max(128, size), step_ms, dig_speed, patience)
        self._game: Game | None = Game(self._settings, self._who)
        self._time = self._pitch = 0
        self._seen: Image | None = None
        self.observation_space, self.action_space = spaces_of(task, size)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """Goes to a place that is drawn from the env's own generator."""
        super().reset(seed=seed)
        place = int(self.np_random.integers(2**31 - 1))
        self._game = self._game or Game(self._settings, self._who)
        self._time = self._pitch = 0
        try:
            return self._show(*self._game.move_to(place))
        except EnvError:
            self.close()
            raise

    def step(self, action: int) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """One step; `info` tells place, direction, inventory, and what was counted."""
        if self._game is None:
            raise EnvError(f"{self._who} is not running: reset it first.")
        chosen = list(ACTIONS.values())[int(action)]
        pitch = int(np.clip(self._pitch + chosen.down, -PITCH, PITCH))
        try:
            pixels, state = self._game.step(chosen.keys, chosen.right, pitch - self._pitch)
        except EnvError:
            self.close()
            raise
        self._pitch = pitch
        self._time += 1
        image, info = self._show(pixels, state)
        return image, state.earned, False, self._time >= self._length, info

    def render(self) -> Any:
        """The last view, uint8 `[128, 128, 3]`, larger if `size` is."""
        return self._seen

    def close(self) -> None:
        """Ends the game's programs."""
        if self._game is not None:
            self._game.close()
            self._game = None

    def _show(self, pixels: Image, state: State) -> tuple[Image, dict[str, Any]]:
        self._seen = pixels
        info = {
            "pos": state.pos,
            "yaw": state.yaw,
            "pitch": state.pitch,
            "inventory": state.inventory,
            "counts": state.counts,
        }
        return resize(pixels, self._size, self._size), info
