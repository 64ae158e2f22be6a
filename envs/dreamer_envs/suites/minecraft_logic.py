"""What the official code adds around Minecraft: actions, encodings and rewards, without the game.

Nothing here imports MineRL, so all of it is tested where the game cannot run. Source:
danijar/dreamerv3, embodied/envs/minecraft_flat.py. Words such as `nearbyCraft` are MineRL's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
_DIAMOND: Mapping[str, Mapping[str, Any]] = {
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
ACTIONS: Mapping[str, Command] = {name: {**NOOP, **keys} for name, keys in _DIAMOND.items()}

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


class Rewards:
    """1 the first time in an episode that an item is held, and 0.01 times the change of health.

    Args:
        items: those that pay. Each pays once: also one lost again, none held from the start.
    """

    def __init__(self, items: Sequence[str] = MILESTONES) -> None:
        self._items = tuple(items)
        self.held: set[str] = set()
        self.health = np.float32(0)

    def reset(self, inventory: Mapping[str, int], health: float) -> None:
        """The first frame, which pays nothing."""
        self.held = {item for item in self._items if inventory[item] > 0}
        self.health = np.float32(health)

    def __call__(self, inventory: Mapping[str, int], health: float) -> float:
        """The reward of a step.

        Args:
            inventory: number of each item held. health: in [0, 1].
        """
        found = {item for item in self._items if inventory[item] > 0} - self.held
        change = np.float32(health) - self.health
        self.held |= found
        self.health = np.float32(health)
        return float(np.float32(len(found) + np.float32(HEALTH_SCALE) * change))


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
