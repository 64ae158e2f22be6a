"""Crafter, a small open world seen from above: images, 17 actions, 22 achievements."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.images import Image

SMALLEST = 18  # two pixels for each of the 9 cells of a row: the numbers in them have one at least


class Crafter(gym.Env[Image, Any]):
    """`terminated` means death (the world's discount is 0), `truncated` the step limit.

    Args:
        task: `reward` for achievements and health, `noreward` for a reward of 0 throughout.
        size: rows and columns of the image.
        area: rows and columns of the world; a smaller one is built faster.
        length: steps after which an episode is truncated; 0 for never.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    can_save = True

    def __init__(
        self,
        task: str,
        size: int = 64,
        area: int = 64,
        length: int = 10_000,
        render_mode: str | None = None,
    ) -> None:
        who = f"crafter/{task}"
        values.drawing(who, render_mode)
        values.at_least(who, size=(size, SMALLEST), area=(area, 1), length=(length, 0))
        self.render_mode = render_mode
        self._settings = {
            "size": (size, size),
            "area": (area, area),
            "reward": task == "reward",
            "length": length,
        }
        self._world: Any = None
        self._world_seed = 0
        self._actions: list[int] = []
        self._image: Image = np.zeros((size, size, 3), np.uint8)
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = spaces.Discrete(len(_build({**self._settings, "seed": 0}).action_names))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """Starts in a new world, drawn from the env's own generator."""
        super().reset(seed=seed)
        return self._begin(int(self.np_random.integers(2**31 - 1))), {}

    def step(self, action: int) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """One step; `info` holds the achievements and the inventory."""
        self._actions.append(int(action))
        self._image, reward, done, info = self._world.step(int(action))
        dead = info["discount"] == 0
        kept = {"achievements": info["achievements"], "inventory": info["inventory"]}
        return self._image, float(reward), dead, bool(done) and not dead, kept

    def render(self) -> Any:
        """The image, uint8 `[size, size, 3]`."""
        # Kept, for the package draws the noise of the night from the world's own generator.
        return self._image.copy()

    def get_state(self) -> dict[str, Any]:
        """The world's seed and the actions so far, from which the episode is played again."""
        return {"seed": self._world_seed, "actions": np.array(self._actions, np.uint8)}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Plays the saved episode again: about 4 ms per step of it."""
        self._begin(saved["seed"])
        for action in saved["actions"]:
            self.step(int(action))

    def _begin(self, world_seed: int) -> Image:
        self._world_seed, self._actions = world_seed, []
        self._world = self._world or _build({**self._settings, "seed": world_seed})
        # The package seeds a world from (seed, number of the episode); ours are all first episodes.
        self._world._seed, self._world._episode = world_seed, 0
        self._image = self._world.reset()
        _order(self._world._world)
        return self._image


def _build(settings: dict[str, Any]) -> Any:
    import crafter

    return crafter.Env(**settings)


class _Ordered(dict[Any, None]):
    """A set that remembers the order of insertion."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


def _order(world: Any) -> None:
    """Makes the world's chunks iterate in a fixed order.

    They are sets of objects, so the order, and with it which creature is drawn to vanish, would
    depend on memory addresses: the same seed would not give the same episode twice.
    """
    place = {id(item): i for i, item in enumerate(world._objects)}
    chunks: defaultdict[Any, _Ordered] = defaultdict(_Ordered)
    for key, items in world._chunks.items():
        for item in sorted(items, key=lambda item: place[id(item)]):
            chunks[key].add(item)
    world._chunks = chunks
