"""Minecraft as the published agents played it: MineRL 0.4.4 with 12 or 25 flat actions.

    image          [size, size, 3]   the view
    inventory      [items]           number of each item held; inventory_max: at most so far
    equipped       [known]           one-hot of the item in hand
    health, hunger, breath           scalars, 1 is full

The game is a Java program that MineRL talks to over a socket. Where the talk breaks off, MineRL
hands over a random observation: here that is an `EnvError`, so that nobody learns from it, and the
next `reset` starts the game anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.errors import EnvError, EnvOptionError, MissingPackageError
from dreamer_envs.spec import load
from dreamer_envs.suites import minecraft_logic as logic
from dreamer_envs.suites.recipes import MINERL

Seen = Mapping[str, Any]  # an observation of MineRL
Answer = TypeVar("Answer")

LONGEST_SEED = 2**31
LAST_PORT = 65535
# MineRL reads `numpy.bool` and the like, which are gone from numpy 1.24 on: an AttributeError.
IMPORT_ERRORS = (ImportError, AttributeError)


class Game(Protocol):
    """What is needed of the game: MineRL's Python side, or a stand-in in tests.

    Attributes:
        items: names of all items that an inventory counts. known: names of what a hand may hold.
    """

    items: tuple[str, ...]
    known: tuple[str, ...]

    def reset(self, seed: int) -> Seen:
        """Starts a world."""

    def step(self, command: logic.Command) -> tuple[Seen, bool]:
        """One tick, and whether the game ended the episode."""

    def close(self) -> None:
        """Ends the game."""


class Minecraft(gym.Env[Any, Any]):
    """A task. Death terminates, the limit of steps truncates.

    Args:
        task: `diamond`, with 25 actions and 12 milestones; `wood` and `climb` with 12 actions.
        size: rows and columns of the image, drawn by the game itself.
        length: steps, 20 to a second of the game, after which an episode is truncated.
        break_speed: how much faster than in the game blocks break.
        sticky_attack: steps an attack is held, only where break_speed is 1.
        sticky_jump: steps a jump, and going forward with it, is held.
        pitch_limit: degrees that the view may go up and down.
        port: of a Minecraft with MineRL's mod that runs already, for this env alone; 0 starts one.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value.
        MissingPackageError: MineRL does not work here, or Java 8 is missing.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        task: str,
        size: int = 64,
        length: int = 36_000,
        break_speed: float = 100.0,
        sticky_attack: int = 30,
        sticky_jump: int = 10,
        pitch_limit: float = 60.0,
        port: int = 0,
        render_mode: str | None = None,
    ) -> None:
        self._name = f"minecraft/{task}"
        values.at_least(self._name, size=(size, 16), length=(length, 1))
        values.positive(self._name, break_speed=break_speed)
        if not 0 <= port <= LAST_PORT:
            raise EnvOptionError(f"port is {port} for {self._name}; use 1 to {LAST_PORT}, or 0.")
        values.drawing(self._name, render_mode)
        self.render_mode = render_mode
        commands = logic.ACTIONS if task == "diamond" else logic.BASIC_ACTIONS
        limits = (-pitch_limit, pitch_limit)
        self._act = logic.StickyActions(commands, break_speed, sticky_attack, sticky_jump, limits)
        self._rewards = logic.Rewards(task)
        self._start: Callable[[], Game] = lambda: _start(self._name, size, break_speed, port)
        self._game: Game | None = self._start()
        self._inventory = logic.Inventory(self._game.items)
        self._known = self._game.known
        self._length, self._steps = length, 0
        self._image = np.zeros((size, size, 3), np.uint8)
        self.action_space = spaces.Discrete(len(commands))
        self.observation_space = self._space(len(self._inventory.items))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts in a new world, drawn from the env's own generator.

        Raises:
            EnvError: the game does not answer.
        """
        super().reset(seed=seed)
        self._game = game = self._game or self._start()
        world = int(self.np_random.integers(LONGEST_SEED))
        seen = self._ask(lambda: game.reset(world))
        self._steps = 0
        self._act.reset()
        self._inventory.reset()
        obs, counts = self._convert(seen)
        self._rewards.reset(_situation(obs, counts, seen))
        return obs, self._info(counts)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; `info` has what is held and, for `diamond`, the milestones so far.

        Raises:
            EnvError: the game does not answer.
        """
        game, command = self._game, self._act(int(action))
        if game is None:
            raise EnvError(f"{self._name} has no game any more: call reset.")
        seen, ended = self._ask(lambda: game.step(command))
        self._steps += 1
        obs, counts = self._convert(seen)
        reward = self._rewards(_situation(obs, counts, seen))
        truncated = self._steps >= self._length and not ended
        return obs, reward, ended, truncated, self._info(counts)

    def render(self) -> Any:
        """The image, uint8 `[size, size, 3]`."""
        return self._image

    def close(self) -> None:
        """Ends the game."""
        game, self._game = self._game, None
        if game is not None:
            game.close()

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """What the game answers; whatever goes wrong on the way is an error of this env."""
        try:
            return question()
        except Exception as error:  # MineRL lets broken answers surface as errors of any kind
            with suppress(Exception):  # a game that is gone cannot be told
                self.close()
            self._game = None
            said = f"{type(error).__name__}: {error}"
            raise EnvError(f"{self._name} lost its game ({said}); reset starts it anew.") from error

    def _convert(self, seen: Seen) -> tuple[dict[str, Any], dict[str, int]]:
        """The observation as agents see it, and the number of each item."""
        counts = {item: int(number) for item, number in seen["inventory"].items()}
        counts["log"] += counts.pop("log2", 0)  # the second kind of wood
        life = (float(seen["life_stats"][key]) for key in ("life", "food", "air"))
        self._image = np.ascontiguousarray(seen["pov"])
        hand = logic.equipped(str(seen["equipped_items"]["mainhand"]["type"]), self._known)
        parts = {"image": self._image, **self._inventory(counts), "equipped": hand}
        return {**parts, **logic.vitals(*life)}, counts

    def _info(self, counts: Mapping[str, int]) -> dict[str, Any]:
        info: dict[str, Any] = {
            "inventory": {item: number for item, number in counts.items() if number > 0}
        }
        if isinstance(self._rewards.goal, logic.Milestones):
            info["milestones"] = sorted(self._rewards.goal.held)
        return info

    def _space(self, items: int) -> spaces.Dict:
        count = spaces.Box(0.0, np.inf, (items,), np.float32)
        # A golden apple gives more than full health.
        share = spaces.Box(0.0, np.inf, (), np.float32)
        return spaces.Dict(
            {
                "image": spaces.Box(0, 255, self._image.shape, np.uint8),
                "inventory": count,
                "inventory_max": count,
                "equipped": spaces.Box(0.0, 1.0, (len(self._known),), np.float32),
                **dict.fromkeys(("health", "hunger"), share),
                # Below water the game counts air down to -20.
                "breath": spaces.Box(-np.inf, np.inf, (), np.float32),
            }
        )


def _situation(obs: Mapping[str, Any], counts: Mapping[str, int], seen: Seen) -> logic.Situation:
    height = float(seen["location_stats"]["ypos"])
    return logic.Situation(counts, obs["health"], height)


def _start(name: str, size: int, break_speed: float, port: int) -> Game:
    try:
        build = load("dreamer_envs.suites.minecraft_game:MineRL")
    except IMPORT_ERRORS as error:
        raise MissingPackageError(
            f"{name}: minerl does not import ({type(error).__name__}: {error}); {MINERL}."
        ) from error
    game: Game = build(name, size, break_speed, port)
    return game
