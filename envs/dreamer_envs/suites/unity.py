"""A scene of Unity with one ML-Agents agent, through `mlagents_envs`' own low-level API.

    ML-Agents                               here
    decision: the agent waits for one       an observation
    terminal, interrupted                   truncated
    terminal, not interrupted               terminated
    cameras, float32 from 0 to 1            image, image1, ..., uint8 [size, size, C]
    everything else it senses, in a row     vector

The scene is a program: its path is the option `file_name`, never a part of the id, for ids stand in
files of strangers. Without it the id is a name of ML-Agents' registry, which downloads the program.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.errors import EnvError, EnvOptionError, UnsupportedSpaceError
from dreamer_envs.images import Image
from dreamer_envs.seeds import SEED_LIMIT
from dreamer_envs.transforms import shrink

PATIENCE = 1000  # simulation steps in which the agent must ask for a decision
COLORS = (1, 3)


class Scene(gym.Env[Any, Any]):
    """A scene. A seeded reset starts the program anew, for it takes its seed then only.

    Args:
        task: name of the scene; without `file_name` one of ML-Agents' registry, such as `Basic`.
        file_name: path of the program that Unity built; empty for the registry.
        size: rows and columns of images.
        time_scale: how much faster than real time the scene runs at most.
        graphics: whether the program draws, which cameras need, and a screen.
        patience: seconds the program may take to start, and to answer.
        render_mode: `rgb_array` shows the first camera; or `None`.

    Raises:
        EnvOptionError: a bad value, or no such scene.
        UnsupportedSpaceError: several agents or kinds of agents.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(
        self,
        task: str,
        file_name: str = "",
        size: int = 64,
        time_scale: float = 20.0,
        graphics: bool = False,
        patience: int = 60,
        render_mode: str | None = None,
    ) -> None:
        self._name = f"unity/{task}"
        values.drawing(self._name, render_mode)
        values.positive(self._name, time_scale=time_scale)
        self.render_mode = render_mode
        self._task, self._file_name, self._size = task, file_name, size
        self._time_scale, self._graphics, self._patience = time_scale, graphics, patience
        self._seed = 0
        self._unity = self._start()
        self._fresh = True  # nothing was played since the program started
        self._behavior, spec = self._only_behavior()
        self._cameras = [i for i, part in enumerate(spec.observation_specs) if _is_camera(part)]
        if self._cameras and not graphics:
            self.close()
            raise EnvOptionError(f"{self._name} has cameras: set env.graphics=true.")
        self._obs: dict[str, Any] = {}
        self.observation_space = self._observations(spec.observation_specs)
        self._continuous = int(spec.action_spec.continuous_size)
        self._branches = tuple(int(count) for count in spec.action_spec.discrete_branches)
        self.action_space = _actions(self._name, self._continuous, self._branches)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode.

        Raises:
            EnvError: the agent asks for no decision, or the program is gone.
        """
        super().reset(seed=seed)
        if seed is not None and (seed % SEED_LIMIT, True) != (self._seed, self._fresh):
            self._seed = seed % SEED_LIMIT
            self.close()
            self._unity = self._start()
        self._fresh = False
        self._ask(self._unity.reset)
        decision, _ = self._await()
        if len(decision) == 0:  # it ended in the moment it began
            raise EnvError(f"{self._name} ended an episode before its first decision.")
        return self._look(decision), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Acts, and lets the scene run until the agent asks again or its episode ends.

        Raises:
            EnvError: as in `reset`.
        """
        self._unity.set_actions(self._behavior, self._native(action))
        self._ask(self._unity.step)
        decision, terminal = self._await()
        if len(terminal):
            cut = bool(terminal.interrupted[0])
            return self._look(terminal), float(terminal.reward[0]), not cut, cut, {}
        return self._look(decision), float(decision.reward[0]), False, False, {}

    def render(self) -> Any:
        """The first camera's image; black without one."""
        black = np.zeros((self._size, self._size, 3), np.uint8)
        return self._obs.get("image", black)

    def close(self) -> None:
        """Ends the program."""
        with suppress(Exception):  # one that is gone cannot be told
            self._unity.close()

    def _start(self) -> Any:
        from mlagents_envs.environment import UnityEnvironment
        from mlagents_envs.side_channel.engine_configuration_channel import (
            EngineConfigurationChannel,
        )

        speed = EngineConfigurationChannel()
        speed.set_configuration_parameters(time_scale=self._time_scale)
        settings = {
            "seed": self._seed,
            "no_graphics": not self._graphics,
            "timeout_wait": self._patience,
            "side_channels": [speed],
            "base_port": _free_port(),
        }
        unity: Any = None
        try:
            if self._file_name:
                unity = UnityEnvironment(file_name=self._file_name, **settings)
            else:
                unity = _registered(self._task, settings)
            unity.reset()  # which tells what there is
        except EnvOptionError:
            raise
        except Exception as error:  # its own kinds, of gRPC and of the system
            if unity is not None:
                unity.close()
            raise EnvError(
                f"{self._name} did not start: {type(error).__name__}: {error}"
            ) from error
        return unity

    def _only_behavior(self) -> tuple[str, Any]:
        specs = dict(self._unity.behavior_specs)
        agents = {name: len(self._unity.get_steps(name)[0]) for name in specs}
        if list(agents.values()) != [1]:
            self.close()
            raise UnsupportedSpaceError(
                f"{self._name} has the agents {agents or 'none'}: one agent of one behavior is "
                "supported; build the scene with a single one."
            )
        return next(iter(specs.items()))

    def _await(self) -> tuple[Any, Any]:
        """Decision and terminal steps, of which one holds the agent."""
        for _ in range(PATIENCE):
            decision, terminal = self._unity.get_steps(self._behavior)
            if len(decision) > 1 or len(terminal) > 1:
                raise EnvError(f"{self._name} has several agents now; one is supported.")
            if len(decision) or len(terminal):
                return decision, terminal
            self._ask(self._unity.step)
        raise EnvError(f"{self._name}: in {PATIENCE} steps its agent asked for no decision.")

    def _ask(self, order: Any) -> None:
        try:
            order()
        except Exception as error:  # its own kinds, and those of a broken pipe
            raise EnvError(
                f"{self._name} lost its program ({type(error).__name__}: {error})."
            ) from error

    def _native(self, action: Any) -> Any:
        from mlagents_envs.base_env import ActionTuple

        both = isinstance(action, dict)
        native = ActionTuple()
        if self._continuous:
            part = np.asarray(action["continuous"] if both else action, np.float32)
            native.add_continuous(part.reshape(1, self._continuous))
        if self._branches:
            part = np.asarray(action["discrete"] if both else action, np.int32)
            native.add_discrete(part.reshape(1, len(self._branches)))
        return native

    def _observations(self, parts: Sequence[Any]) -> spaces.Dict:
        shown: dict[str, spaces.Space[Any]] = {}
        for place, i in enumerate(self._cameras):
            channels = _channels(parts[i].shape)
            shape = (self._size, self._size, channels)
            shown[_camera_name(place)] = spaces.Box(0, 255, shape, np.uint8)
        numbers = sum(
            int(np.prod(part.shape)) for i, part in enumerate(parts) if i not in self._cameras
        )
        if numbers:
            shown["vector"] = spaces.Box(-np.inf, np.inf, (numbers,), np.float32)
        return spaces.Dict(shown)

    def _look(self, steps: Any) -> dict[str, Any]:
        """The only agent's observation."""
        parts = [np.asarray(batch[0], np.float32) for batch in steps.obs]
        self._obs = {
            _camera_name(place): _picture(parts[i], self._size)
            for place, i in enumerate(self._cameras)
        }
        rest = [part.reshape(-1) for i, part in enumerate(parts) if i not in self._cameras]
        if rest:
            self._obs["vector"] = np.concatenate(rest)
        return self._obs


def match(text: str) -> str | None:
    """A scene's name: letters, digits and `_`, never a path."""
    plain = text.replace("_", "").replace("-", "")
    return text if plain.isascii() and plain.isalnum() else None


def tasks() -> tuple[str, ...]:
    """A scene of ML-Agents' registry with one agent; scenes of one's own have any name."""
    return ("Basic",)


def _registered(task: str, settings: dict[str, Any]) -> Any:
    from mlagents_envs.registry import default_registry

    if task not in default_registry:
        known = ", ".join(sorted(default_registry))
        raise EnvOptionError(
            f"unity/{task} is none of ML-Agents' scenes ({known}); for one of your own set "
            "env.file_name=PATH of the program that Unity built."
        )
    return default_registry[task].make(**settings)


def _actions(name: str, continuous: int, branches: tuple[int, ...]) -> spaces.Space[Any]:
    parts: dict[str, spaces.Space[Any]] = {}
    if continuous:
        parts["continuous"] = spaces.Box(-1.0, 1.0, (continuous,), np.float32)
    if branches:
        many = len(branches) > 1
        parts["discrete"] = (
            spaces.MultiDiscrete(list(branches)) if many else spaces.Discrete(branches[0])
        )
    if not parts:
        raise UnsupportedSpaceError(f"{name} takes no actions.")
    return spaces.Dict(parts) if len(parts) > 1 else next(iter(parts.values()))


def _is_camera(part: Any) -> bool:
    """Whether a sensor sends pictures of one or three colours; grids with other channels do not."""
    shape = part.shape
    return len(shape) == 3 and (shape[0] in COLORS or shape[2] in COLORS)


def _channels(shape: Sequence[int]) -> int:
    return int(shape[2] if shape[2] in COLORS else shape[0])


def _picture(floats: Any, size: int) -> Image:
    """Rows first: releases from 21 on send the colours first, those before last."""
    rows = floats if floats.shape[2] in COLORS else np.moveaxis(floats, 0, -1)
    image = np.clip(rows * 255.0 + 0.5, 0, 255).astype(np.uint8)
    if image.shape[2] == 1:
        return shrink(np.repeat(image, 3, axis=2), size, gray=False)[..., :1]
    return shrink(image, size, gray=False)


def _camera_name(place: int) -> str:
    return f"image{place}" if place else "image"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
    return port
