"""Suites whose simulators do not run on the machines where this package is built, as data.

They are tested against stand-ins (`tests/envs/standins.py`), which listings say.
"""

from __future__ import annotations

from dreamer_envs.spec import SuiteSpec
from dreamer_envs.suites import recipes

MINECRAFT = SuiteSpec(
    name="minecraft",
    summary="Minecraft through MineRL: find a diamond, fell trees, climb",
    entry_point="dreamer_envs.suites.minecraft:Minecraft",
    tasks=("diamond", "wood", "climb"),
    module="minerl",
    package="minerl",
    extra="minerl",
    licence="MIT, in its file CC-BY-NC-SA-4.0",  # its metadata and its LICENSE differ
    bare=False,  # `wood` says not whose
    apart="its packages are of 2021",
    recipe=recipes.MINERL,
)

STANDINS = (MINECRAFT,)
