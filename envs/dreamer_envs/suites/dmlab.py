"""DeepMind Lab: first-person mazes and rooms on Quake III's engine, by `deepmind_lab.Lab`.

    image   [size, size, 3]
    instr   [1024]            only where words are told: 32 of them, 32 numbers each

Source of actions, settings and words: danijar/dreamerv3 @ e3f0224, embodied/envs/dmlab.py.
"""

from __future__ import annotations

import re
import zlib
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dreamer_envs import values
from dreamer_envs.images import Image, at_rate
from dreamer_envs.names import fold
from dreamer_envs.suites.task_names import DMLAB

Floats = NDArray[np.float32]

FOLDER = "contributed/dmlab30/"
SPLIT = ("rooms_collect_good_objects", "rooms_exploit_deferred_effects")  # whose tests differ
SEED_LIMIT = 2**31 - 1
HELD_OUT = {"allowHoldOutLevels": "true", "mixerSeed": str(0x600D5EED)}
RENDERERS = ("software", "hardware")
PICTURE, WORDS = "RGB_INTERLEAVED", "INSTR"

# Look right, look down (pixels a frame), strafe right, move forward, fire, jump, crouch.
ACTIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "popart": (
        (0, 0, 0, 1, 0, 0, 0), (0, 0, 0, -1, 0, 0, 0), (0, 0, -1, 0, 0, 0, 0),
        (0, 0, 1, 0, 0, 0, 0), (-10, 0, 0, 0, 0, 0, 0), (10, 0, 0, 0, 0, 0, 0),
        (-60, 0, 0, 0, 0, 0, 0), (60, 0, 0, 0, 0, 0, 0), (0, 10, 0, 0, 0, 0, 0),
        (0, -10, 0, 0, 0, 0, 0), (-10, 0, 0, 1, 0, 0, 0), (10, 0, 0, 1, 0, 0, 0),
        (-60, 0, 0, 1, 0, 0, 0), (60, 0, 0, 1, 0, 0, 0), (0, 0, 0, 0, 1, 0, 0),
    ),
    "impala": (
        (0, 0, 0, 1, 0, 0, 0), (0, 0, 0, -1, 0, 0, 0), (0, 0, -1, 0, 0, 0, 0),
        (0, 0, 1, 0, 0, 0, 0), (-20, 0, 0, 0, 0, 0, 0), (20, 0, 0, 0, 0, 0, 0),
        (-20, 0, 0, 1, 0, 0, 0), (20, 0, 0, 1, 0, 0, 0), (0, 0, 0, 0, 1, 0, 0),
    ),
}  # fmt: skip

WORD = re.compile(r"([A-Za-z_]+|[^A-Za-z_ ]+)")
LONGEST, NUMBERS, BUCKETS = 32, 32, 64 * 1024


class Lab(gym.Env[Any, Any]):
    """A level. It ends when it is over or its time is, which Lab does not tell apart: `terminated`.

    Args:
        task: one of DMLab-30, or the path of another level, such as `demos/extra_entities`.
        size: rows and columns of the image.
        action_repeat: frames each action is held; Lab has 60 in a second.
        actions: `popart`, 15 of them, or `impala`, 9.
        words: whether instructions are shown; None where the level's name begins with `language`.
        held_out: whether the levels for tests are played, not those for training.
        renderer: `software`, or `hardware` for a GPU.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}

    def __init__(
        self,
        task: str,
        size: int = 64,
        action_repeat: int = 4,
        actions: str = "popart",
        words: bool | None = None,
        held_out: bool = False,
        renderer: str = "software",
        render_mode: str | None = None,
    ) -> None:
        who = f"dmlab/{task}"
        values.at_least(who, action_repeat=(action_repeat, 1))
        values.one_of(who, actions=(actions, ACTIONS), renderer=(renderer, RENDERERS))
        values.drawing(who, render_mode)
        self.render_mode, self.action_repeat = render_mode, action_repeat
        self.metadata = at_rate(self.metadata, 60 / action_repeat)
        self._words = task.startswith("language") if words is None else words
        self._actions = [np.array(action, np.intc) for action in ACTIONS[actions]]
        # Lab takes texts only.
        config = {"width": str(size), "height": str(size), "logLevel": "WARN"}
        config |= HELD_OUT if held_out else {}
        seen = [PICTURE, WORDS] if self._words else [PICTURE]
        self._lab = _start(_level(task, held_out), seen, config, renderer)
        self._obs: dict[str, Any] = {}
        shown: dict[str, spaces.Space[Any]] = {
            "image": spaces.Box(0, 255, (size, size, 3), np.uint8)
        }
        if self._words:
            shown["instr"] = spaces.Box(-np.inf, np.inf, (LONGEST * NUMBERS,), np.float32)
        self.observation_space = spaces.Dict(shown)
        self.action_space = spaces.Discrete(len(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode drawn from the env's own generator; `info` has the instruction."""
        super().reset(seed=seed)
        self._lab.reset(seed=int(self.np_random.integers(SEED_LIMIT)))
        return self._look()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of some frames; Lab shows nothing after the last, so the one before stays."""
        reward = self._lab.step(self._actions[int(action)], num_steps=self.action_repeat)
        if not self._lab.is_running():
            return self._obs, float(reward), True, False, {}
        obs, info = self._look()
        return obs, float(reward), False, False, info

    def render(self) -> Any:
        """The image, uint8 `[size, size, 3]`."""
        return self._obs["image"]

    def close(self) -> None:
        """Ends Quake."""
        self._lab.close()

    def _look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        seen = self._lab.observations()
        image: Image = seen[PICTURE]
        self._obs = {"image": image}
        if not self._words:
            return self._obs, {}
        said = str(seen[WORDS])
        self._obs["instr"] = embedding(said)
        return self._obs, {"instruction": said}


def match(text: str) -> str | None:
    """Level that a text spells: one of DMLab-30, or a path below Lab's own levels."""
    short = re.sub(r"_(train|test)$", "", text.removeprefix(FOLDER))
    known = {fold(level): level for level in DMLAB}.get(fold(short))
    path = re.fullmatch(r"[a-z0-9_]+(/[a-z0-9_]+)+", text)
    return known or (text if path else None)


def embedding(said: str) -> Floats:
    """The first 32 words of an instruction, each as the 32 random numbers of its hash; `[1024]`."""
    numbers = [zlib.crc32(word.encode()) % BUCKETS for word in WORD.findall(said.lower())]
    padded = [*numbers, *[0] * LONGEST][:LONGEST]
    words: Floats = _table()[padded].reshape(-1)
    return words


@cache
def _table() -> Floats:
    """The numbers of each hash, `[65536, 32]`, always the same."""
    draws = np.random.default_rng(seed=0).normal(0.0, 1.0, (BUCKETS, NUMBERS))
    return draws.astype(np.float32)


def _level(task: str, held_out: bool) -> str:
    if "/" in task:
        return task
    part = ("_test" if held_out else "_train") if task in SPLIT else ""
    return f"{FOLDER}{task}{part}"


def _start(level: str, seen: list[str], config: dict[str, str], renderer: str) -> Any:
    import deepmind_lab

    return deepmind_lab.Lab(level, seen, config=config, renderer=renderer)
