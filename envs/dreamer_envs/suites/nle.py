"""The NetHack Learning Environment, seen as a picture of coloured characters around the hero.

image   [8 * cells, 8 * cells, 3]   the map around the hero, one 8x8 character a square
stats   [27]                        place, strength, health, hunger and others ("blstats")
inventory [55]                      kinds of the things carried, as NetHack numbers them
"""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont

from dreamer_envs import values
from dreamer_envs.images import Image
from dreamer_envs.spec import load

TILE = 8  # pixels of a character
KEYS = ("chars", "colors", "blstats", "inv_oclasses", "message")
COLUMN, ROW = 0, 1  # of the hero, in blstats
ABORTED = -1  # NLE's status of an episode that its limit of steps cut
# The sixteen colours of a terminal, in its order.
PALETTE = np.array(
    [
        (0, 0, 0), (176, 0, 0), (0, 176, 0), (160, 112, 0), (32, 64, 224), (176, 0, 176),
        (0, 160, 160), (176, 176, 176), (96, 96, 96), (255, 96, 0), (64, 255, 64),
        (255, 255, 64), (96, 144, 255), (255, 96, 255), (96, 255, 255), (255, 255, 255),
    ],
    np.float32,
)  # fmt: skip


class NetHack(gym.Env[Any, Any]):
    """A task of NLE. Its limit of steps truncates; death and the task's own end terminate.

    Args:
        task: for example `Score`; NLE's id is `NetHack<task>-v0`.
        cells: rows and columns of the map that are seen, the hero in the middle.
        length: steps after which an episode is truncated.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self, task: str, cells: int = 8, length: int = 5000, render_mode: str | None = None
    ) -> None:
        values.at_least(f"nle/{task}", cells=(cells, 2))
        values.drawing(f"nle/{task}", render_mode)
        self._game: Any = _game(task, length)
        self.render_mode = render_mode
        self._seeds = task != "Challenge"  # whose rules forbid it: no two of its games are equal
        self._cells = cells
        self._last: dict[str, Any] = {}
        side = cells * TILE
        self.action_space = self._game.action_space
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (side, side, 3), np.uint8),
                "stats": spaces.Box(-np.inf, np.inf, (27,), np.float32),
                "inventory": spaces.Box(0, 18, (55,), np.float32),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts a game drawn from the env's own generator; `info` has NetHack's message."""
        super().reset(seed=seed)
        if self._seeds:
            # NLE does not hand the seed of a reset on to NetHack, which has two generators.
            core, display = (int(self.np_random.integers(2**31)) for _ in range(2))
            self._game.seed(core, display, reseed=False)
        obs, _ = self._game.reset()
        return self._convert(obs), {"message": _text(obs)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step."""
        obs, reward, terminated, truncated, info = self._game.step(action)
        cut = truncated or int(info["end_status"]) == ABORTED
        ends = bool(terminated) and not cut
        return self._convert(obs), float(reward), ends, bool(cut), {"message": _text(obs)}

    def render(self) -> Any:
        """The whole map, uint8 `[21 * 8, 79 * 8, 3]`."""
        return draw(self._last["chars"], self._last["colors"])

    def close(self) -> None:
        """Ends the game."""
        self._game.close()

    def _convert(self, obs: dict[str, Any]) -> dict[str, Any]:
        self._last = obs
        chars, colors = (self._window(obs[key], obs["blstats"]) for key in ("chars", "colors"))
        return {
            "image": draw(chars, colors),
            "stats": obs["blstats"].astype(np.float32),
            "inventory": obs["inv_oclasses"].astype(np.float32),
        }

    def _window(self, field: NDArray[Any], stats: NDArray[Any]) -> NDArray[Any]:
        """The cells around the hero; nothing outside of the map."""
        half = self._cells // 2
        wide = np.pad(field, self._cells)
        top, left = stats[ROW] + self._cells - half, stats[COLUMN] + self._cells - half
        return wide[top : top + self._cells, left : left + self._cells]


def draw(chars: NDArray[Any], colors: NDArray[Any]) -> Image:
    """Characters `[R, C]` in their colours as a picture, uint8 `[8 R, 8 C, 3]`."""
    rows, columns = chars.shape
    shapes = _font()[chars.astype(int)]  # [R, C, 8, 8]
    tiles = shapes[..., None] * PALETTE[colors.astype(int) % 16][:, :, None, None, :]
    flat = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * TILE, columns * TILE, 3)
    picture: Image = flat.astype(np.uint8)
    return picture


@cache
def _font() -> NDArray[np.float32]:
    """Shapes of the 256 characters, `[256, 8, 8]` from 0 to 1."""
    font = ImageFont.load_default()
    shapes = np.zeros((256, TILE, TILE), np.float32)
    for code in range(33, 127):
        page = Pil.new("L", (12, 16))
        ImageDraw.Draw(page).text((1, 0), chr(code), fill=255, font=font)
        box = page.getbbox() or (0, 0, 1, 1)
        small = page.crop((0, box[1], 9, max(box[3], box[1] + 9))).resize((TILE, TILE))
        shapes[code] = np.asarray(small, np.float32) / 255
    return shapes


def _game(task: str, length: int) -> gym.Env[Any, Any]:
    import nle.env  # noqa: F401  registers the ids

    entry = gym.registry[f"NetHack{task}-v0"].entry_point
    assert entry is not None
    # Not by `gym.make`, which would keep the limit of steps for itself.
    game: gym.Env[Any, Any] = load(entry)(max_episode_steps=length, observation_keys=KEYS)
    return game


def _text(obs: dict[str, Any]) -> str:
    return bytes(obs["message"]).split(b"\0")[0].decode("latin-1")
