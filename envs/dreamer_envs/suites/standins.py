"""Suites whose simulators do not run on the machines where this package is built, as data.

They are tested against stand-ins (`tests/envs/standins.py`), which listings say.
"""

from __future__ import annotations

from dreamer_envs.spec import SuiteSpec
from dreamer_envs.suites import recipes, task_names

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

DMLAB = SuiteSpec(
    name="dmlab",
    summary="DeepMind Lab, mazes and rooms in the first person, some with instructions",
    entry_point="dreamer_envs.suites.dmlab:Lab",
    tasks=task_names.DMLAB,
    match="dreamer_envs.suites.dmlab:match",
    module="deepmind_lab",
    package="deepmind-lab",
    licence="GPL-2.0-only",
    aliases=("deepmind_lab",),
    bare=False,
    action_repeat=4,
    recipe=recipes.DMLAB,
)

UNITY = SuiteSpec(
    name="unity",
    summary="scenes of Unity with one ML-Agents agent",
    entry_point="dreamer_envs.suites.unity:Scene",
    tasks="dreamer_envs.suites.unity:tasks",
    match="dreamer_envs.suites.unity:match",
    module="mlagents_envs",
    package="mlagents-envs",
    extra="unity",
    licence="Apache-2.0",
    aliases=("unity_mlagents", "mlagents"),
    bare=False,
    apart="it wants protobuf 3.20",
    recipe=recipes.UNITY,
)

ISAAC = SuiteSpec(
    name="isaac",
    summary="Isaac Lab, robots on NVIDIA's simulator, one at a time",
    entry_point="dreamer_envs.suites.isaac:Robot",
    tasks=task_names.ISAAC,
    match="dreamer_envs.suites.isaac:match",
    module="isaaclab",
    package="isaaclab",
    licence="BSD-3-Clause",
    aliases=("isaaclab", "isaac_lab"),
    bare=False,
    recipe=recipes.ISAAC,
)

STANDINS = (DMLAB, ISAAC, MINECRAFT, UNITY)
