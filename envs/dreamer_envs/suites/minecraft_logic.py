"""What the official code adds around Minecraft: actions, encodings and rewards, without the game.

Nothing here imports MineRL, so all of it is tested where the game cannot run. Source:
danijar/dreamerv3, embodied/envs/minecraft_flat.py; of heights,
minecraft.py @ 2411f7d, for the later file reads a height that it no longer keeps. Words such as
`nearbyCraft` are MineRL's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dreamer_envs.errors import EnvOptionError

Command = dict[str, Any]  # one MineRL action
Floats = NDArray[np.float32]

# One command in which nothing is done; camera is (pitch, yaw) in degrees.
NOOP: Mapping[str, Any] = {
    **dict.fromkeys(("forward", "back", "left", "right", "jump", "attack", "sneak", "sprint"), 0),
    "camera": (0, 0),
    **dict.fromkeys(("craft", "nearbyCraft", "nearbySmelt", "place", "equip"), "none"),
}
_BASIC: Mapping[str, Mapping[str, Any]] = {
    "noop": {},
    "attack": {"attack": 1},
    "turn_up": {"camera": (-15, 0)},
    "turn_down": {"camera": (15, 0)},
    "turn_left": {"camera": (0, -15)},
    "turn_right": {"camera": (0, 15)},
    "forward": {"forward": 1},
    "back": {"back": 1},
    "left": {"left": 1},
    "right": {"right": 1},
    "jump": {"jump": 1, "forward": 1},
    "place_dirt": {"place": "dirt"},
}
_CRAFTS: Mapping[str, Mapping[str, Any]] = {
    "craft_planks": {"craft": "planks"},
    "craft_stick": {"craft": "stick"},
    "craft_crafting_table": {"craft": "crafting_table"},
    "place_crafting_table": {"place": "crafting_table"},
    "craft_wooden_pickaxe": {"nearbyCraft": "wooden_pickaxe"},
    "craft_stone_pickaxe": {"nearbyCraft": "stone_pickaxe"},
    "craft_iron_pickaxe": {"nearbyCraft": "iron_pickaxe"},
    "equip_stone_pickaxe": {"equip": "stone_pickaxe"},
    "equip_wooden_pickaxe": {"equip": "wooden_pickaxe"},
    "equip_iron_pickaxe": {"equip": "iron_pickaxe"},
    "craft_furnace": {"nearbyCraft": "furnace"},
    "place_furnace": {"place": "furnace"},
    "smelt_iron_ingot": {"nearbySmelt": "iron_ingot"},
}
BASIC_ACTIONS: Mapping[str, Command] = {name: {**NOOP, **keys} for name, keys in _BASIC.items()}
ACTIONS: Mapping[str, Command] = {
    **BASIC_ACTIONS,
    **{name: {**NOOP, **keys} for name, keys in _CRAFTS.items()},
}

MILESTONES = (
    "log", "planks", "stick", "crafting_table", "wooden_pickaxe", "cobblestone", "stone_pickaxe",
    "iron_ore", "furnace", "iron_ingot", "iron_pickaxe", "diamond",
)  # fmt: skip
HEALTH_SCALE = 0.01  # reward for all of the health
LIFE, FOOD, AIR = 20, 20, 300  # full, in the game's units


class StickyActions:
    """Turns choices into commands: holds attack and jump down, keeps the pitch within limits.

    Args:
        actions: commands by name, in the order of their numbers.
        break_speed: how much faster than in the game blocks break. Only at 1 is attack held:
            otherwise one tick of it is enough.
        attack: ticks an attack is held. jump: ticks a jump, and going forward with it, is held.
        pitch_limit: degrees up and down; a turn beyond is left out, its yaw is kept.

    Raises:
        EnvOptionError: a number of ticks below 0.
    """

    def __init__(
        self,
        actions: Mapping[str, Command] = ACTIONS,
        break_speed: float = 100.0,
        attack: int = 30,
        jump: int = 10,
        pitch_limit: tuple[float, float] = (-60, 60),
    ) -> None:
        for name, ticks in (("attack", attack), ("jump", jump)):
            if ticks < 0:
                raise EnvOptionError(f"Sticky {name} is {ticks} ticks; use 0 (off) or more.")
        self._commands = tuple(actions.values())
        self._attack = attack if break_speed == 1 else 0
        self._jump = jump
        self._lowest, self._highest = pitch_limit
        self.reset()

    def reset(self) -> None:
        """A new episode: nothing is held and the view is level."""
        self.attack_left = self.jump_left = 0
        self.pitch = 0.0

    def __call__(self, index: int) -> Command:
        """The command of an action, given those before it in the episode."""
        command = dict(self._commands[index])
        # While attack is held, jumps are not heard; a jump under way goes on.
        self.attack_left = self._attack if command["attack"] else self.attack_left
        if self.attack_left:
            self.attack_left -= 1
            command.update(attack=1, jump=0)
        self.jump_left = self._jump if command["jump"] else self.jump_left
        if self.jump_left:
            self.jump_left -= 1
            command.update(jump=1, forward=1)
        pitch, yaw = command["camera"]
        if not self._lowest <= self.pitch + pitch <= self._highest:
            pitch = 0
        self.pitch += pitch
        command["camera"] = (pitch, yaw)
        return command


class Situation(NamedTuple):
    """What rewards are paid for.

    Attributes:
        inventory: number of each item held. health: in [0, 1]. height: of the player, in blocks.
    """

    inventory: Mapping[str, int]
    health: float
    height: float = 0.0


class Milestones:
    """1 the first time in an episode that an item is held.

    Args:
        items: those that pay. Each pays once: also one lost again, none held from the start.
    """

    def __init__(self, items: Sequence[str] = MILESTONES) -> None:
        self._items = tuple(items)
        self.held: set[str] = set()

    def reset(self, now: Situation) -> None:
        """The first frame, which pays nothing."""
        self.held = set()
        self(now)

    def __call__(self, now: Situation) -> float:
        """Number of items that are held for the first time."""
        found = {item for item in self._items if now.inventory[item] > 0} - self.held
        self.held |= found
        return len(found)


class Gathered:
    """1 for each piece of an item that is held more than a step before; giving away is free.

    Args:
        item: the item.
    """

    def __init__(self, item: str) -> None:
        self._item = item
        self._before = 0

    def reset(self, now: Situation) -> None:
        """The first frame, which pays nothing."""
        self._before = now.inventory[self._item]

    def __call__(self, now: Situation) -> float:
        """Number of new pieces."""
        more = max(0, now.inventory[self._item] - self._before)
        self._before = now.inventory[self._item]
        return more


class Climbed:
    """The change of height, in blocks."""

    def __init__(self) -> None:
        self._before = np.float32(0)

    def reset(self, now: Situation) -> None:
        """The first frame, which pays nothing."""
        self._before = np.float32(now.height)

    def __call__(self, now: Situation) -> float:
        """How much higher the player stands than a step before, negative after a fall."""
        change = np.float32(now.height) - self._before
        self._before = np.float32(now.height)
        return float(change)


class Rewards:
    """What a task pays, and 0.01 times the change of health.

    Args:
        task: `diamond`, `wood` or `climb`.
    """

    def __init__(self, task: str = "diamond") -> None:
        self.goal = GOALS[task]()
        self._health = np.float32(0)

    def reset(self, now: Situation) -> None:
        """The first frame, which pays nothing."""
        self.goal.reset(now)
        self._health = np.float32(now.health)

    def __call__(self, now: Situation) -> float:
        """The reward of a step."""
        change = np.float32(now.health) - self._health
        self._health = np.float32(now.health)
        return float(np.float32(self.goal(now) + np.float32(HEALTH_SCALE) * change))


GOALS: Mapping[str, Callable[[], Milestones | Gathered | Climbed]] = {
    "diamond": Milestones,
    "wood": lambda: Gathered("log"),
    "climb": Climbed,
}


class Inventory:
    """Numbers of all items, now and at most so far in the episode.

    Args:
        items: all items of the game in its order; `log2`, its second kind of wood, counts as `log`.
    """

    def __init__(self, items: Sequence[str]) -> None:
        self.items = tuple(item for item in items if item != "log2")
        self.reset()

    def reset(self) -> None:
        """A new episode: nothing was held."""
        self.most: Floats = np.zeros(len(self.items), np.float32)

    def __call__(self, counts: Mapping[str, int]) -> dict[str, Floats]:
        """`inventory` and `inventory_max`, float32 `[items]`; `counts` has every item."""
        merged = {**counts, "log": counts["log"] + counts.get("log2", 0)}
        now = np.array([merged[item] for item in self.items], np.float32)
        self.most = np.maximum(self.most, now)
        return {"inventory": now, "inventory_max": self.most.copy()}


def equipped(item: str, known: Sequence[str]) -> Floats:
    """One-hot of the item in hand, float32 `[known]`.

    Raises:
        ValueError: an item that is not known.
    """
    if item not in known:
        raise ValueError(f"Item {item!r} in hand is none of the {len(known)} known ones.")
    return np.eye(len(known), dtype=np.float32)[list(known).index(item)]


def vitals(life: float, food: float, air: float) -> dict[str, np.float32]:
    """`health`, `hunger` and `breath` from the game's units: 1 is full."""
    return {
        "health": np.float32(life / LIFE),
        "hunger": np.float32(food / FOOD),
        "breath": np.float32(air / AIR),
    }
