"""Suites that stand on packages of their own, as data; see `spec.SuiteSpec` for the fields."""

from __future__ import annotations

from dreamer_envs.minetest.programs import APT as MINETEST_APT
from dreamer_envs.spec import SuiteSpec
from dreamer_envs.suites import task_names

GL_APT = "libegl1 libgl1"

# Ids end in a version that may be left out, and begin with a name that the suite's own repeats.
_MINIGRID_SPELLINGS = (
    (r"(?i)^minigrid-(.*)$", r"\1"),
    (r"^(.*)$", r"\1-v0"),
    (r"(?i)^minigrid-(.*)$", r"\1-v0"),
)
_BABYAI_SPELLINGS = (
    (r"(?i)^babyai-(.*)$", r"\1"),
    (r"^(.*)$", r"\1-v0"),
    (r"(?i)^babyai-(.*)$", r"\1-v0"),
)

BABYAI = SuiteSpec(
    name="babyai",
    summary="BabyAI, MiniGrid's rooms with missions that are told in words",
    entry_point="dreamer_envs.suites.minigrid:BabyAI",
    tasks=task_names.BABYAI,
    module="minigrid",
    package="minigrid",
    extra="minigrid",
    licence="Apache-2.0",
    spellings=_BABYAI_SPELLINGS,
    bare=False,  # many of its tasks have MiniGrid's names
)

BRAX = SuiteSpec(
    name="brax",
    summary="Brax, locomotion in JAX",
    entry_point="dreamer_envs.suites.brax:make",
    tasks=task_names.BRAX,
    module="brax",
    package="brax",
    extra="brax",
    licence="Apache-2.0",
    bare=False,  # `ant` says not whose
)

BSUITE = SuiteSpec(
    name="bsuite",
    summary="Behaviour Suite, small experiments in series: catch is catch/0 of 20",
    entry_point="dreamer_envs.suites.bsuite:make",
    tasks="dreamer_envs.suites.bsuite:tasks",
    match="dreamer_envs.suites.bsuite:match",
    module="bsuite",
    package="bsuite",
    extra="bsuite",
    licence="Apache-2.0",
    bare=False,  # `catch` is a toy of ours too
)

CRAFTAX = SuiteSpec(
    name="craftax",
    summary="Craftax, Crafter and a larger successor in JAX",
    entry_point="dreamer_envs.suites.craftax:make",
    tasks=task_names.CRAFTAX,
    module="craftax",
    package="craftax",
    extra="craftax",
    licence="MIT",
    spellings=((r"(?i)-v1$", ""), (r"(?i)^craftax-(.*?)(-v1)?$", r"\1")),
    bare=False,
)

ENVPOOL = SuiteSpec(
    name="envpool",
    summary="EnvPool, envs in C++ under Gym's and DeepMind's names, as EnvPool prepares them",
    entry_point="dreamer_envs.suites.envpool:EnvPool",
    pool="dreamer_envs.suites.envpool:Pool",
    tasks="dreamer_envs.suites.envpool:tasks",
    match="dreamer_envs.suites.envpool:match",
    module="envpool",
    package="envpool",
    extra="envpool",
    licence="Apache-2.0",
    bare=False,  # its ids are those of other suites
)

LOCONAV = SuiteSpec(
    name="loconav",
    summary="mazes and worlds of dm_control.locomotion: an ant, a person, a rodent",
    entry_point="dreamer_envs.suites.loconav:make",
    tasks=task_names.LOCONAV,
    module="dm_control",
    package="dm-control",
    extra="dmc",
    apt=GL_APT,
    licence="Apache-2.0",
    aliases=("locomotion",),
    python_below=(3, 13),  # labmaze has no wheel
    bare=False,
)

MEMORYMAZE = SuiteSpec(
    name="memorymaze",
    summary="Memory Maze, finding coloured objects again and again",
    entry_point="dreamer_envs.suites.memorymaze:make",
    tasks=task_names.MEMORYMAZE,
    module="memory_maze",
    package="memory-maze",
    extra="memorymaze",
    apt=GL_APT,
    licence="MIT",
    aliases=("memmaze",),
    python_below=(3, 13),  # labmaze has no wheel
    spellings=((r"(?i)-v0$", ""),),
    bare=False,
)

METAWORLD = SuiteSpec(
    name="metaworld",
    summary="Meta-World, fifty tasks of one robot arm",
    entry_point="dreamer_envs.suites.metaworld:make",
    tasks=task_names.METAWORLD,
    module="metaworld",
    package="metaworld",
    extra="metaworld",
    apt=GL_APT,
    licence="MIT",
    spellings=((r"-v[123]$", ""), (r"(?i)^mt1[-/]", "")),
    bare=False,
    apart="it pins mujoco 3.3.0",
)

MINETEST = SuiteSpec(
    name="minetest",
    summary="Minetest, an open world of blocks: chop trees, dig, explore",
    entry_point="dreamer_envs.suites.minetest:Minetest",
    spaces="dreamer_envs.suites.minetest:spaces_of",
    tasks=task_names.MINETEST,
    module="Xlib",
    package="python-xlib",
    extra="minetest",
    apt=MINETEST_APT,
    licence="LGPL-2.1-or-later",
    bare=False,  # `explore` says not where
)

MINIGRID = SuiteSpec(
    name="minigrid",
    summary="MiniGrid, rooms of squares with doors, keys and lava",
    entry_point="dreamer_envs.suites.minigrid:MiniGrid",
    tasks=task_names.MINIGRID,
    module="minigrid",
    package="minigrid",
    extra="minigrid",
    licence="Apache-2.0",
    spellings=_MINIGRID_SPELLINGS,
    bare=False,
)

NLE = SuiteSpec(
    name="nle",
    summary="NetHack Learning Environment, a dungeon of characters",
    entry_point="dreamer_envs.suites.nle:NetHack",
    tasks=task_names.NLE,
    module="nle",
    package="nle",
    extra="nle",
    licence="NGPL",
    aliases=("nethack",),
    spellings=((r"(?i)^nethack(.*?)(-v0)?$", r"\1"), (r"(?i)-v0$", "")),
    bare=False,
)

PLAYGROUND = SuiteSpec(
    name="playground",
    summary="MuJoCo Playground, the Control Suite and robots in JAX",
    entry_point="dreamer_envs.suites.playground:make",
    tasks=task_names.PLAYGROUND,
    module="mujoco_playground",
    package="playground",
    extra="playground",
    licence="Apache-2.0",
    aliases=("mujoco_playground",),
    bare=False,  # `WalkerWalk` is the Control Suite's
)

PROCGEN = SuiteSpec(
    name="procgen",
    summary="Procgen, sixteen games with generated levels",
    entry_point="dreamer_envs.suites.procgen:Procgen",
    tasks=task_names.PROCGEN,
    module="procgen",
    package="procgen-mirror",
    extra="procgen",
    licence="MIT",
    spellings=((r"(?i)^procgen-(.*?)(-v0)?$", r"\1"), (r"(?i)-v0$", "")),
    bare=False,  # `maze` says not whose
    apart="it pins numpy below 2",
    python_below=(3, 13),  # no wheel
)

ROBOSUITE = SuiteSpec(
    name="robosuite",
    summary="robosuite, arms that lift, stack, open and wipe",
    entry_point="dreamer_envs.suites.robosuite:Robosuite",
    tasks=task_names.ROBOSUITE,
    module="robosuite",
    package="robosuite",
    extra="robosuite",
    apt=GL_APT,
    licence="MIT",
    bare=False,
    apart="it works with mujoco 3.3.0 only",
)

LISTED = (
    BABYAI, BRAX, BSUITE, CRAFTAX, ENVPOOL, LOCONAV, MEMORYMAZE, METAWORLD, MINETEST, MINIGRID,
    NLE, PLAYGROUND, PROCGEN, ROBOSUITE,
)  # fmt: skip
