"""The suites that come with the package, as data; their code is imported at the first `make`."""

from __future__ import annotations

from dreamer_envs.spec import SuiteSpec
from dreamer_envs.suites.listed import GL_APT, LISTED
from dreamer_envs.suites.standins import STANDINS
from dreamer_envs.suites.task_names import ATARI, CRAFTER, DMC, PINPAD, TOY

GYM = SuiteSpec(
    name="gym",
    summary="any registered Gymnasium id, vectors or pixels",
    entry_point="dreamer_envs.suites.gym:make",
    tasks="dreamer_envs.suites.gym:tasks",
    match="dreamer_envs.suites.gym:match",
    module="gymnasium",
    package="gymnasium",
    apt=GL_APT,
    licence="MIT",
    aliases=("gymnasium", "mujoco", "classic_control", "box2d", "toy_text"),
)

TOYS = SuiteSpec(
    name="toy",
    summary="small deterministic tasks for tests and first runs",
    entry_point="dreamer_envs.toy:make",
    tasks=TOY,
    licence="Apache-2.0",
)

DMC_SUITE = SuiteSpec(
    name="dmc",
    summary="DeepMind Control Suite, proprioception or pixels",
    entry_point="dreamer_envs.suites.dmc:ControlSuite",
    tasks=DMC,
    module="dm_control",
    package="dm-control",
    extra="dmc",
    apt=GL_APT,
    licence="Apache-2.0",
    aliases=("dm_control", "dmcontrol", "deepmind_control", "control"),
    python_below=(3, 13),  # labmaze, which dm-control asks for, has no wheel
    spellings=((r"(?i)^cup(?=[-_])", "ball_in_cup"),),
)

# `PongNoFrameskip-v4` and `Pong-v5` are Gym's spellings of the game Pong.
_GYM_VERSION = ((r"(?i)(NoFrameskip|Deterministic)?-v\d+$", ""),)

ATARI_SUITE = SuiteSpec(
    name="atari",
    summary="Atari 2600, 200M-frame protocol: 96x96 gray, sticky actions",
    entry_point="dreamer_envs.suites.atari:Atari",
    tasks=ATARI,
    module="ale_py",
    package="ale-py",
    extra="atari",
    licence="GPL-2.0-only",
    aliases=("ale",),
    spellings=_GYM_VERSION,
    terminal_on_timeout=True,
    action_repeat=4,
)

ATARI100K_SUITE = SuiteSpec(
    name="atari100k",
    summary="Atari 2600, 400k-frame protocol: 64x64 RGB, no sticky actions, minimal action set",
    entry_point="dreamer_envs.suites.atari:Atari",
    tasks=ATARI,
    module="ale_py",
    package="ale-py",
    extra="atari",
    licence="GPL-2.0-only",
    aliases=("ale100k",),
    spellings=_GYM_VERSION,
    bare=False,  # a bare `Pong` means the full protocol
    defaults={"size": 64, "gray": False, "sticky": 0.0, "actions": "minimal"},
    terminal_on_timeout=True,
    action_repeat=4,
)

CRAFTER_SUITE = SuiteSpec(
    name="crafter",
    summary="Crafter, a two-dimensional open world",
    entry_point="dreamer_envs.suites.crafter:Crafter",
    tasks=CRAFTER,
    module="crafter",
    package="crafter",
    extra="crafter",
    licence="MIT",
)

PINPAD_SUITE = SuiteSpec(
    name="pinpad",
    summary="Pin Pad, stepping on three to eight pads in order",
    entry_point="dreamer_envs.suites.pinpad:PinPad",
    tasks=PINPAD,
    licence="Apache-2.0",
    bare=False,  # "three" alone says nothing
)

BUILTIN = (
    ATARI_SUITE, ATARI100K_SUITE, CRAFTER_SUITE, DMC_SUITE, GYM, PINPAD_SUITE, TOYS, *LISTED,
    *STANDINS,
)  # fmt: skip
