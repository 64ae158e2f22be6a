"""The Python side of MineRL 0.4.4; importing this imports it, so it is loaded with an env.

The mission is that of the official code: danijar/dreamerv3, embodied/envs/minecraft_flat.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minerl.env.malmo import InstanceManager, MinecraftInstance
from minerl.herobraine.env_spec import EnvSpec
from minerl.herobraine.hero import handler, handlers, mc

from dreamer_envs.suites.minecraft_host import prepare
from dreamer_envs.suites.minecraft_logic import Command

KEYS = ("forward", "back", "left", "right", "jump", "sneak", "attack")
LISTS = ("PlaceBlock", "EquipAction", "CraftAction", "CraftNearbyAction", "SmeltItemNearby")


class MineRL:
    """A game of Minecraft.

    Args:
        name: id of the env, for messages. size: rows and columns of the view.
        break_speed: how much faster blocks break.
        port: of a game that runs already; 0 starts one, which takes minutes.

    Raises:
        MissingPackageError: a game cannot be started here.
    """

    def __init__(self, name: str, size: int, break_speed: float, port: int) -> None:
        if not port:
            prepare(name, Path(InstanceManager.MINECRAFT_DIR))
        running = [MinecraftInstance(port, existing=True)] if port else []
        self._env: Any = Mission(size, break_speed).make(instances=running)
        # At a refused connection MineRL would start a second game and forget it.
        self._env._TO_MOVE_handle_frozen_minecraft = lambda instance: None
        if not port:
            # Here, not in the first reset, which must answer as fast as any other.
            self._env.instances.append(self._env._get_new_instance())
        space = self._env.observation_space
        self.items = tuple(space["inventory"].spaces)
        self.known = tuple(space["equipped_items"]["mainhand"]["type"].values.tolist())

    def reset(self, seed: int) -> Any:
        """Starts a world; the first observation."""
        self._env.seed(seed, seed_spaces=False)  # counts for one reset
        return self._env.reset()

    def step(self, command: Command) -> tuple[Any, bool]:
        """One tick: observation, and whether the episode is over.

        Raises:
            ConnectionError: MineRL lost the game and made up an observation.
        """
        seen, _, done, info = self._env.step(command)
        if "error" in info:
            raise ConnectionError(info["error"])
        return seen, bool(done)

    def close(self) -> None:
        """Ends the game, unless it ran before."""
        self._env.close()


class BreakSpeed(handler.Handler):  # type: ignore[misc]  # of a package without types
    """Tells the game how fast blocks break.

    Args:
        multiplier: 1 is the game's own speed.
    """

    def __init__(self, multiplier: float) -> None:
        self.multiplier = multiplier

    def to_string(self) -> str:
        """Its name."""
        return f"break_speed({self.multiplier})"

    def xml_template(self) -> str:
        """Its place in the mission."""
        return "<BreakSpeedMultiplier>{{multiplier}}</BreakSpeedMultiplier>"


class Mission(EnvSpec):  # type: ignore[misc]  # of a package without types
    """What is asked of the game: a new world at dawn, nothing in the hands, no reward of its own.

    Args:
        size: rows and columns of the view. break_speed: how much faster blocks break.
    """

    def __init__(self, size: int, break_speed: float) -> None:
        self._size, self._break_speed = size, break_speed
        super().__init__(name="DreamerMinecraft-v0")

    def create_observables(self) -> list[Any]:
        """What comes back at each step."""
        return [
            handlers.POVObservation((self._size, self._size)),
            handlers.FlatInventoryObservation(mc.ALL_ITEMS),
            handlers.EquippedItemObservation(mc.ALL_ITEMS, _default="air", _other="other"),
            handlers.ObservationFromCurrentLocation(),
            handlers.ObservationFromLifeStats(),
        ]

    def create_actionables(self) -> list[Any]:
        """What can be done."""
        keys = [handlers.KeybasedCommandAction(key, mc.INVERSE_KEYMAP[key]) for key in KEYS]
        items = ["none", *mc.ALL_ITEMS]
        lists = [getattr(handlers, kind)(items, _other="none", _default="none") for kind in LISTS]
        return [*keys, handlers.CameraAction(), *lists]

    def create_agent_start(self) -> list[Any]:
        """How the player begins."""
        return [BreakSpeed(self._break_speed)]

    def create_server_world_generators(self) -> list[Any]:
        """A world of its own for each episode."""
        return [handlers.DefaultWorldGenerator(force_reset=True)]

    def create_server_quit_producers(self) -> list[Any]:
        """The world ends with its player."""
        return [handlers.ServerQuitWhenAnyAgentFinishes()]

    def create_server_initial_conditions(self) -> list[Any]:
        """Dawn, with animals and monsters."""
        dawn = handlers.TimeInitialCondition(allow_passage_of_time=True, start_time=0)
        return [dawn, handlers.SpawningInitialCondition(allow_spawning=True)]

    def create_agent_handlers(self) -> list[Any]:
        """Nothing."""
        return []

    create_monitors = create_rewardables = create_server_decorators = create_agent_handlers

    def is_from_folder(self, folder: str) -> bool:
        """No recordings of people belong to it."""
        return False

    def determine_success_from_rewards(self, rewards: list[float]) -> bool:
        """The game pays nothing from which success could be told."""
        return False

    def get_docstring(self) -> str:
        """No page of MineRL's own documentation."""
        return ""
