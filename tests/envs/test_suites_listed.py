"""Suites on packages of their own: spellings and lists for all; the envs where they are installed.

`python -m tests.envs.matrix` installs every package and steps every suite.
"""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from gymnasium import spaces

import dreamer_envs
from dreamer_envs.errors import EnvIdError, EnvOptionError, MissingPackageError
from dreamer_envs.suites import (
    bsuite,
    dm_form,
    loconav,
    memorymaze,
    nle,
    procgen,
    robosuite,
    task_names,
)
from dreamer_envs.suites.listed import LISTED

SPELLINGS = {
    "minigrid/Empty-5x5-v0": "minigrid/Empty-5x5-v0",
    "minigrid/empty-5x5": "minigrid/Empty-5x5-v0",
    "MiniGrid-DoorKey-8x8-v0": "minigrid/DoorKey-8x8-v0",
    "minigrid/MiniGrid-Unlock": "minigrid/Unlock-v0",
    "minigrid/MultiRoom-N4-S5-v1": "minigrid/MultiRoom-N4-S5-v1",
    "BabyAI-Unlock-v0": "babyai/Unlock-v0",
    "bsuite/catch": "bsuite/catch",
    "bsuite/deep_sea/7": "bsuite/deep_sea/7",
    "bsuite_catch-3": "bsuite/catch/3",
    "procgen-coinrun-v0": "procgen/coinrun",
    "procgen/procgen-maze-v0": "procgen/maze",
    "MemoryMaze-9x9-v0": "memorymaze/9x9",
    "memmaze/15x15": "memorymaze/15x15",
    "metaworld/reach-v3": "metaworld/reach",
    "metaworld/Door_Open": "metaworld/door-open",
    "robosuite/two_arm_lift": "robosuite/TwoArmLift",
    "brax/ant": "brax/ant",
    "Craftax-Classic-Pixels-v1": "craftax/classic-pixels",
    "craftax/symbolic": "craftax/symbolic",
    "playground/CartpoleBalance": "playground/CartpoleBalance",
    "mujoco_playground/walker-walk": "playground/WalkerWalk",
    "minetest/TreeChop": "minetest/treechop",
    "nle/NetHackScore-v0": "nle/Score",
    "nethack/score": "nle/Score",
    "loconav/ant_maze_m": "loconav/ant_maze_m",
    # Names that other suites have too stay with those.
    "catch": "toy/catch",
    "WalkerWalk": "dmc/walker-walk",
}


@pytest.mark.parametrize("text, expected", SPELLINGS.items())
def test_spelling(text, expected):
    assert dreamer_envs.canonical(text) == expected
    assert dreamer_envs.canonical(expected) == expected


def test_every_task_is_found_under_its_own_name():
    for suite in LISTED:
        for task in suite.task_names():
            assert dreamer_envs.canonical(f"{suite.name}/{task}") == f"{suite.name}/{task}"


@pytest.mark.parametrize(
    "text, words",
    [
        ("minigrid/Emty-5x5", ["'minigrid/Empty-5x5-v0'", "dreamer-plugin envs minigrid"]),
        ("procgen/coinrunn", ["'procgen/coinrun'"]),
        ("metaworld/raech", ["'metaworld/reach'"]),
        ("bsuite/cach", ["'bsuite/catch'"]),
        ("robosuit/Lift", ["'robosuite/Lift'"]),
        ("bsuite/catch/x", ["'bsuite/catch'"]),
        ("minetest/fly", ["It has: dig, explore, treechop"]),
    ],
)
def test_a_wrong_task_gets_the_nearest(text, words):
    with pytest.raises(EnvIdError) as error:
        dreamer_envs.canonical(text)
    assert all(word in str(error.value) for word in words), error.value


def test_bsuite_counts_its_settings():
    assert bsuite.match("catch/19") == "catch/19"
    with pytest.raises(EnvOptionError, match="settings 0 to 19, not 20"):
        bsuite.match("catch/20")


@pytest.mark.parametrize("suite", LISTED, ids=lambda suite: suite.name)
def test_a_missing_package_names_the_extra(suite, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    task = (suite.task_names() or ("Pong-v5",))[0]
    with pytest.raises(MissingPackageError) as error:
        dreamer_envs.make(f"{suite.name}/{task}")
    assert f"pip install 'dreamer-plugin[{suite.extra}]'" in str(error.value)
    if suite.apt:
        assert f"apt-get install {suite.apt}" in str(error.value)
    if suite.apart:
        assert "environment of its own" in str(error.value) and suite.apart in str(error.value)


@pytest.mark.parametrize("name, options", [
    ("minigrid", {"obs": "pixles"}), ("procgen", {"mode": "soft"}), ("loconav", {"obs": "sound"}),
    ("metaworld", {"obs": "x"}), ("robosuite", {"obs": "x"}), ("brax", {"backend": "x"}),
        ("playground", {"engine": "x"}), ("craftax", {"length": -1}),
    ("nle", {"cells": 1}),
])  # fmt: skip
def test_wrong_values_are_named_before_the_package_is_imported(name, options, monkeypatch):
    suite = next(suite for suite in LISTED if suite.name == name)
    monkeypatch.setattr(type(suite), "installed", lambda self: True)
    ((option, value),) = options.items()
    with pytest.raises(EnvOptionError, match=f"{option} is {value!r}"):
        dreamer_envs.make(f"{name}/{suite.task_names()[0]}", **options)


def test_robosuite_wants_one_mujoco(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "3.17.0")
    with pytest.raises(MissingPackageError, match="mujoco 3.3.0, found 3.17.0: .*python=PATH"):
        robosuite.Robosuite("Lift")


def test_a_python_without_wheels_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("dreamer_envs.registry.sys.version_info", (3, 13, 1))
    for id in ("dmc/walker-walk", "loconav/ant_maze_s", "memorymaze/9x9", "procgen/coinrun"):
        with pytest.raises(MissingPackageError, match=r"Python below 3.13, for this is 3.13.*PATH"):
            dreamer_envs.make(id)
    with pytest.raises(MissingPackageError) as error:
        dreamer_envs.make("crafter/reward")
    assert "3.13" not in str(error.value)


def test_memory_maze_names_the_module_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "memory_maze", None)
    with pytest.raises(MissingPackageError, match=r"the module 'memory_maze'.*\[memorymaze\]"):
        memorymaze._import_mazes("memorymaze/9x9")


def test_the_mazes_of_the_ant():
    """Corners of the official maps: maze_s is 11 rows of 11, target at (2, 8), start at (8, 2)."""
    rows = loconav.layout("s").splitlines()
    assert len(rows) == 11 and {len(row) for row in rows} == {11}
    assert rows[2][8] == "G" and rows[8][2] == "P"
    assert rows[4] == "*******   *" and rows[9] == "*         *"
    for size in loconav.MAZES:
        text = loconav.layout(size)
        assert text.count("P") == text.count("G") == 1
        assert _connected(text), size


def _connected(text):
    rows = text.splitlines()
    floor = {(r, c) for r, row in enumerate(rows) for c, cell in enumerate(row) if cell != "*"}
    assert not {cell for cell in floor if cell[0] in (0, len(rows) - 1) or cell[1] == 0}
    edge = {next(iter(floor))}
    seen = set(edge)
    while edge:
        around = {(r + i, c + j) for r, c in edge for i, j in ((0, 1), (1, 0), (0, -1), (-1, 0))}
        edge = (around & floor) - seen
        seen |= edge
    return seen == floor


def test_nethack_is_drawn_in_its_colours():
    chars = np.full((2, 3), ord(" "), np.uint8)
    chars[0, 1], chars[1, 2] = ord("@"), ord("#")
    colors = np.array([[0, 15, 0], [0, 0, 4]], np.uint8)
    image = nle.draw(chars, colors)
    assert image.shape == (16, 24, 3) and image.dtype == np.uint8
    hero, wall = image[:8, 8:16], image[8:, 16:]
    assert hero.max() > 128 and (hero[..., 0] == hero[..., 2]).all()  # white
    assert wall[..., 2].max() > wall[..., 0].max() > 0  # blue, as terminals draw it
    assert image.sum() == hero.sum(dtype=int) + wall.sum(dtype=int)


class Game:
    """gym3's rule: the step that ends a level already shows the next one."""

    def __init__(self, wins_at=None):
        self.time, self.level, self.wins_at, self.first = 0, 0, wins_at, 1
        self.won = False

    def act(self, action):
        self.time += 1
        self.won = self.time == self.wins_at
        self.first = int(self.won or self.time == 500 or action[0] == -1)
        if self.first:
            self.time, self.level = 0, self.level + 1

    def observe(self):
        picture = np.full((1, 64, 64, 3), 10 * self.level + min(self.time, 9), np.uint8)
        return np.array([5.0 * self.won], np.float32), {"rgb": picture}, np.array([self.first])

    def get_info(self):
        return [{"prev_level_complete": int(self.won), "level_seed": self.level}]

    def close(self):
        pass


@pytest.mark.parametrize("wins_at, ends", [(3, (True, False)), (None, (False, True))])
def test_procgen_keeps_levels_apart(monkeypatch, wins_at, ends):
    monkeypatch.setattr(procgen.Procgen, "_start", lambda self, seed: Game(wins_at))
    env = procgen.Procgen("maze", size=64)
    first, info = env.reset(seed=0)
    assert first.max() == 0 and info["level"] == 0
    for _ in range((wins_at or 500) - 1):
        image, reward, *over, _ = env.step(4)
        assert reward == 0 and over == [False, False]
    image, reward, terminated, truncated, info = env.step(4)
    assert (terminated, truncated) == ends and info["won"] == (wins_at is not None)
    assert reward == 5.0 * info["won"]
    assert image.max() < 10  # still of the level that ended
    after, info = env.reset()
    assert after.max() == 10 and info["level"] == 1  # the next one, none was skipped
    env.step(4)
    assert env.reset()[1]["level"] == 2  # given up in the middle


class Timed:
    """A `dm_env` environment: ends after three steps with the discount it is given."""

    def __init__(self, discount):
        self.discount, self.steps = discount, 0

    def observation_spec(self):
        from types import SimpleNamespace as Spec

        return {"eye": Spec(shape=(4, 4, 3), dtype=np.uint8), "mood": Spec(shape=(), dtype=float)}

    def action_spec(self):
        from types import SimpleNamespace as Spec

        low, high = np.array([-2.0, 0.0]), np.array([2.0, 1.0])
        return Spec(shape=(2,), dtype=np.float64, minimum=low, maximum=high)

    def reset(self):
        self.steps = 0
        return self._now(None, 1.0)

    def step(self, action):
        self.steps += 1
        return self._now(1.5, self.discount if self.steps == 3 else 1.0)

    def close(self):
        pass

    def _now(self, reward, discount):
        from types import SimpleNamespace as Step

        seen = {"eye": np.zeros((4, 4, 3), np.uint8), "mood": 0.5}
        return Step(
            observation=seen, reward=reward, discount=discount, last=lambda: self.steps == 3
        )


@pytest.mark.parametrize("discount, ends", [(0.0, (True, False)), (1.0, (False, True))])
def test_ends_of_dm_env_are_told_by_the_discount(discount, ends):
    env = dm_form.DmEnv(lambda seed: Timed(discount))
    assert env.observation_space["eye"] == spaces.Box(0, 255, (4, 4, 3), np.uint8)
    assert env.observation_space["mood"] == spaces.Box(-np.inf, np.inf, (), np.float32)
    np.testing.assert_array_equal(env.action_space.low, np.float32([-2, 0]))
    obs, _ = env.reset(seed=1)
    assert obs["mood"].dtype == np.float32
    results = [env.step(np.zeros(2))[1:4] for _ in range(3)]
    assert results == [(1.5, False, False)] * 2 + [(1.5, *ends)]
    with pytest.raises(EnvOptionError, match="draws nothing"):
        dm_form.DmEnv(lambda seed: Timed(0.0), render_mode="rgb_array")


def _dm_env(start):
    return dm_form.DmEnv(start)


def _procgen(start):
    kind = type("Built", (procgen.Procgen,), {"_start": lambda self, seed: start(seed)})
    return kind("maze", size=64)


def _robosuite(start):
    kind = type("Built", (robosuite.Robosuite,), {"_build": lambda self, seed: start(seed)})
    return kind("Lift")


class Player(Game):
    """A game, or robosuite's arm, which shows nothing."""

    action_spec = (np.zeros(2), np.ones(2))

    def reset(self):
        return {}


@pytest.mark.parametrize(
    "make, simulator",
    [(_dm_env, lambda: Timed(1.0)), (_procgen, Player), (_robosuite, Player)],
)
def test_an_env_without_a_seed_draws_one_once(make, simulator, monkeypatch):
    monkeypatch.setattr(robosuite, "_check_mujoco", lambda who: None)
    built = []

    def start(seed):
        built.append(seed)
        return simulator()

    env, other = make(start), make(start)
    assert built == [0, 0]
    env.reset()
    env.reset()
    other.reset()
    assert len(built) == 4 and built[2] != built[3]
    env.reset(seed=5)
    env.reset()
    assert built[4:] == [5]


def test_a_seed_of_a_setting_stays_until_a_seeded_reset():
    """What bsuite's results are reported on."""
    built = []

    def start(seed):
        built.append(seed)
        return Timed(1.0)

    env = dm_form.DmEnv(start, seed=42)
    env.reset()
    env.reset(seed=3)
    assert built == [42, 3]


def test_lists_of_minigrid_and_babyai():
    pytest.importorskip("minigrid")
    import gymnasium as gym

    for names, head in ((task_names.MINIGRID, "MiniGrid-"), (task_names.BABYAI, "BabyAI-")):
        known = {i for i in gym.registry if i.startswith(head)}
        # Those need pictures that the package does not bring; they cannot be made.
        assert {head + name for name in names} == {i for i in known if "-WFC-" not in i}


def test_list_of_procgen():
    pytest.importorskip("procgen")
    from procgen.env import ENV_NAMES

    assert list(task_names.PROCGEN) == ENV_NAMES


def test_list_of_bsuite():
    sweep = pytest.importorskip("bsuite.sweep")
    found = [id.partition("/")[0] for id in sweep.SWEEP]
    assert {name: found.count(name) for name in found} == task_names.BSUITE


def test_list_of_metaworld():
    metaworld = pytest.importorskip("metaworld")
    assert {f"{name}-v3" for name in task_names.METAWORLD} == set(metaworld.ALL_V3_ENVIRONMENTS)


def test_list_of_robosuite():
    robosuite = pytest.importorskip("robosuite")
    assert set(task_names.ROBOSUITE) == set(robosuite.ALL_ENVIRONMENTS)


def test_list_of_brax():
    envs = pytest.importorskip("brax.envs")
    assert set(task_names.BRAX) == set(envs._envs) - {"fast"}


def test_list_of_playground():
    registry = pytest.importorskip("mujoco_playground").registry
    assert task_names.PLAYGROUND == registry.ALL_ENVS
