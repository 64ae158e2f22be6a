"""Reinforcement-learning environments behind one name, `suite/task`, and one form.

    env = dreamer_envs.make("atari/Pong")

gives a Gymnasium env with `Dict` observations (images uint8 `[H, W, C]`, vectors float32),
continuous actions in [-1, 1], honest `terminated` and `truncated`. Importing the package imports no
simulator.
"""

from __future__ import annotations

from dreamer_envs.registry import (
    Maker,
    allow_import,
    available,
    canonical,
    make,
    maker,
    options,
    register,
    register_with_gymnasium,
    suite_of,
    tasks,
)
from dreamer_envs.spec import SuiteInfo, SuiteSpec
from dreamer_envs.transforms import wrap

register_with_gymnasium()

__all__ = [
    "Maker",
    "SuiteInfo",
    "SuiteSpec",
    "allow_import",
    "available",
    "canonical",
    "make",
    "maker",
    "options",
    "register",
    "register_with_gymnasium",
    "suite_of",
    "tasks",
    "wrap",
]
