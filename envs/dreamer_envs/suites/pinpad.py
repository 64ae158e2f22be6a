"""Pin Pad: step on numbered pads in order, seen from above; a test of long-term decisions.

Introduced with Director (Hafner et al. 2022, arXiv 2206.04114) for three to six pads; maps, colours
and rules are those of the official DreamerV3 code (danijar/dreamerv3, embodied/envs/pinpad.py).
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dreamer_envs import values
from dreamer_envs.images import Image

WIDTH, HEIGHT = 16, 14  # of the map; the outermost cells are walls
SHELF = HEIGHT  # row of the image, below the map, that shows the last pads
CELL = 4  # pixels
FREE, WALL = 0, 9  # pads are 1 to 8
MOVES = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))  # stay, down, up, right, left
REWARD = 10.0
PAUSE = 10  # steps from a reward to the new start

WHITE, GLOW, GRAY, BLACK = (255, 255, 255), (223, 255, 223), (192, 192, 192), (0, 0, 0)
BRIGHT = np.array(  # colours of the pads 1 to 8
    [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 0),
        (255, 0, 255),
        (0, 255, 255),
        (128, 0, 128),
        (0, 128, 128),
    ],
    np.uint8,
)
PALE = ((10 * BRIGHT.astype(int) + 90 * 255) // 100).astype(np.uint8)  # of pads nobody stands on

# Rectangles (pad, left, top, width, height); some pads are made of two.
_SEVEN = (
    (1, 1, 1, 3, 2), (1, 1, 3, 2, 1), (4, 12, 1, 3, 2), (4, 13, 3, 2, 1), (3, 1, 5, 2, 4),
    (5, 13, 5, 2, 4), (6, 1, 10, 2, 1), (6, 1, 11, 3, 2), (2, 13, 10, 2, 1), (2, 12, 11, 3, 2),
    (7, 6, 11, 4, 2),
)  # fmt: skip
LAYOUTS: dict[str, tuple[tuple[int, int, int, int, int], ...]] = {
    "three": ((1, 1, 1, 4, 4), (2, 6, 9, 4, 4), (3, 11, 1, 4, 4)),
    "four": ((1, 1, 1, 4, 4), (2, 11, 9, 4, 4), (3, 1, 9, 4, 4), (4, 11, 1, 4, 4)),
    "five": (
        (1, 1, 2, 3, 4),
        (2, 11, 10, 4, 3),
        (3, 1, 8, 3, 4),
        (4, 11, 1, 4, 3),
        (5, 12, 5, 3, 4),
    ),
    "six": (
        (1, 1, 1, 3, 3),
        (2, 12, 10, 3, 3),
        (3, 1, 5, 2, 4),
        (4, 1, 10, 3, 3),
        (5, 12, 1, 3, 3),
        (6, 13, 5, 2, 4),
    ),
    "seven": _SEVEN,
    "eight": (*_SEVEN, (8, 6, 1, 4, 2)),
}


class PinPad(gym.Env[Image, Any]):
    """Who steps on all pads of the map in the order of their numbers gets 10, again and again.

    Observation: image `[64, 64, 3]`: the map, the player in black, the pad under it bright, and
    below the map the last pads stepped on, as many as the map has. Pads repeated at once count
    once. A full sequence pays 10 and turns the floor green for 10 steps, in which nothing pays;
    then the player starts anew at a random cell with an empty sequence.

    Args:
        task: how many pads, `three` to `eight`.
        length: steps after which an episode is truncated; nothing else ends one.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a length below 1, or another render mode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    can_save = True

    def __init__(self, task: str, length: int = 10_000, render_mode: str | None = None) -> None:
        values.drawing(f"pinpad/{task}", render_mode)
        values.at_least(f"pinpad/{task}", length=(length, 1))
        self.render_mode = render_mode
        self.length = length
        self.observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))
        self._tiles = _tiles(task)
        self._pads = int(self._tiles[self._tiles != WALL].max())
        # Column by column, as the official code counts cells: equal draws give equal cells.
        self._cells = [(int(x), int(y)) for x, y in np.argwhere(self._tiles.T != WALL)]
        self.player = self._cells[0]
        self.sequence: list[int] = []
        self.steps = self.countdown = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """Starts an episode at a random cell."""
        super().reset(seed=seed)
        self.steps = self.countdown = 0
        self._start()
        return self.render(), {}

    def step(self, action: int) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """0 stay, 1 down, 2 up, 3 right, 4 left; a wall stops the move."""
        if self.countdown:
            self.countdown -= 1
            if not self.countdown:
                self._start()
        self._move(*MOVES[int(action)])
        won = not self.countdown and self.sequence == list(range(1, self._pads + 1))
        if won:
            self.countdown = PAUSE
        self.steps += 1
        return self.render(), REWARD * won, False, self.steps >= self.length, {}

    def render(self) -> Any:
        """The image, uint8 `[64, 64, 3]`."""
        colors = np.array([WHITE, *PALE, GRAY], np.uint8)
        colors[FREE] = GLOW if self.countdown else WHITE
        below = self._tile()
        if below != FREE:
            colors[below] = BRIGHT[below - 1]
        grid = np.full((WIDTH, WIDTH, 3), GRAY, np.uint8)
        grid[:HEIGHT] = colors[self._tiles]
        grid[self.player[1], self.player[0]] = BLACK
        for place, pad in enumerate(self.sequence):
            grid[SHELF, 2 * place + 1] = BRIGHT[pad - 1]
        return grid.repeat(CELL, 0).repeat(CELL, 1)

    def get_state(self) -> dict[str, Any]:
        """The memory of the episode, as numbers and lists."""
        return {
            "player": list(self.player),
            "sequence": list(self.sequence),
            "steps": self.steps,
            "countdown": self.countdown,
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Goes back to a state of `get_state`."""
        x, y = saved["player"]
        self.player, self.sequence = (x, y), list(saved["sequence"])
        self.steps, self.countdown = saved["steps"], saved["countdown"]

    def _start(self) -> None:
        self.player = self._cells[int(self.np_random.integers(len(self._cells)))]
        self.sequence = []

    def _move(self, right: int, down: int) -> None:
        x, y = self.player[0] + right, self.player[1] + down
        if self._tiles[y, x] == WALL:
            return  # and no pad counts, not even the one that the player was started on
        self.player = (x, y)
        pad = self._tile()
        if pad != FREE and self.sequence[-1:] != [pad]:
            self.sequence = [*self.sequence, pad][-self._pads :]

    def _tile(self) -> int:
        return int(self._tiles[self.player[1], self.player[0]])


def _tiles(task: str) -> NDArray[np.int64]:
    """The map, `[HEIGHT, WIDTH]`."""
    tiles = np.full((HEIGHT, WIDTH), WALL)
    tiles[1:-1, 1:-1] = FREE
    for pad, left, top, width, height in LAYOUTS[task]:
        tiles[top : top + height, left : left + width] = pad
    return tiles
