"""Ids: every spelling, helpful errors, listing, and other packages' suites."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import pytest

import dreamer_envs
from dreamer_envs import registry, spec
from dreamer_envs.errors import EnvIdError, EnvOptionError, MissingPackageError
from dreamer_envs.suites import rendering, task_names
from dreamer_envs.toy import Recall

SPELLINGS = {
    "atari/Pong": "atari/Pong",
    "atari/pong": "atari/Pong",
    "ATARI/PONG": "atari/Pong",
    "PongNoFrameskip-v4": "atari/Pong",
    "PongDeterministic-v4": "atari/Pong",
    "Pong-v5": "atari/Pong",
    "ALE/Pong-v5": "atari/Pong",
    "atari/PongNoFrameskip-v4": "atari/Pong",
    "atari_pong": "atari/Pong",
    "atari/ms_pacman": "atari/MsPacman",
    "atari100k_pong": "atari100k/Pong",
    "atari100k/PongNoFrameskip-v4": "atari100k/Pong",
    "walker_walk": "dmc/walker-walk",
    "walker-walk": "dmc/walker-walk",
    "dmc/walker_walk": "dmc/walker-walk",
    "dmc_walker_walk": "dmc/walker-walk",
    "cup-catch": "dmc/ball_in_cup-catch",
    "cup_catch": "dmc/ball_in_cup-catch",
    "ball_in_cup-catch": "dmc/ball_in_cup-catch",
    "DMC-Cheetah-Run": "dmc/cheetah-run",
    "dm_control/cheetah_run": "dmc/cheetah-run",
    "dmc/humanoid_cmu-run": "dmc/humanoid_CMU-run",
    "CartPole-v1": "gym/CartPole-v1",
    "cartpole-v1": "gym/CartPole-v1",
    "CartPole": "gym/CartPole-v1",
    "gymnasium/CartPole-v1": "gym/CartPole-v1",
    "gym/CartPole-v0": "gym/CartPole-v0",
    "mujoco/HalfCheetah-v5": "gym/HalfCheetah-v5",
    "gym/halfcheetah": "gym/HalfCheetah-v5",
    "Blackjack-v1": "gym/Blackjack-v1",
    "crafter_reward": "crafter/reward",
    "crafter/noreward": "crafter/noreward",
    "PinPad-Three": "pinpad/three",
    "pin_pad/eight": "pinpad/eight",
    "toy/catch": "toy/catch",
    "recall": "toy/recall",
    "dreamer_envs:toy/reach-v0": "toy/reach",
}


@pytest.mark.parametrize("text, expected", SPELLINGS.items())
def test_spelling(text, expected):
    assert dreamer_envs.canonical(text) == expected
    assert dreamer_envs.canonical(expected) == expected


def test_importing_ale_py_does_not_change_what_an_id_means():
    ale_py = pytest.importorskip("ale_py")
    gym.register_envs(ale_py)
    assert dreamer_envs.canonical("Pong-v4") == "atari/Pong"


@pytest.mark.parametrize(
    "text, words",
    [
        ("atari/Pongg", ["'Pongg'", "'atari/Pong'", "dreamer-plugin envs atari"]),
        ("atri/Pong", ["'atri'", "'atari/Pong'", "dreamer-plugin envs"]),
        ("dmc/walker-wlak", ["'dmc/walker-walk'", "dreamer-plugin envs dmc"]),
        ("walker_wlak", ["'dmc/walker-walk'", "dreamer-plugin envs dmc"]),
        ("CartPol-v1", ["'gym/CartPole-v1'", "dreamer-plugin envs gym"]),
        ("gym/CartPole-v7", ["'CartPole-v7'", "'gym/CartPole-v1'"]),
        ("PnogNoFrameskip-v4", ["Unknown env id", "dreamer-plugin envs"]),
        ("toy", ["is a suite", "toy/catch"]),
        ("Blackjack", ["ambiguous", "'atari/Blackjack'", "'gym/Blackjack-v1'"]),
        ("qqq/www", ["'qqq'", "dreamer-plugin envs"]),
        ("", ["'suite/task'", "dreamer-plugin envs"]),
        ("no_such_module:Thing-v0", ["no_such_module", "--allow-env-import no_such_module"]),
        ("json:Thing-v0", ["'json' is imported but registers no such id"]),
    ],
)
def test_error_names_the_value_the_nearest_and_the_listing(text, words):
    with pytest.raises(EnvIdError) as error:
        dreamer_envs.make(text)
    message = str(error.value)
    assert "\n" not in message
    for word in words if text else ["dreamer-plugin envs"]:
        assert word in message


def test_an_id_alone_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "imported_by_id.py").write_text(
        "import gymnasium\n"
        "entry = 'gymnasium.envs.classic_control:CartPoleEnv'\n"
        "gymnasium.register('Own-v0', entry_point=entry)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "gym/imported_by_id:Own-v0"
    with pytest.raises(EnvIdError, match="--allow-env-import imported_by_id"):
        dreamer_envs.make(name)
    assert "imported_by_id" not in sys.modules
    dreamer_envs.allow_import("imported_by_id")
    assert dreamer_envs.make(name).observation_space["vector"].shape == (4,)
    with pytest.raises(EnvIdError, match="Cannot import 'no_such_module'"):
        dreamer_envs.allow_import("no_such_module")


def test_no_spelling_of_one_task_is_another_task():
    for name in ("atari", "dmc", "crafter", "pinpad", "toy"):
        for task in dreamer_envs.tasks(name):
            assert dreamer_envs.canonical(f"{name}/{task}") == f"{name}/{task}"


def test_available():
    suites = {info.name: info for info in dreamer_envs.available()}
    assert {"atari", "atari100k", "crafter", "dmc", "gym", "pinpad", "toy"} <= set(suites)
    assert suites["toy"].installed and suites["gym"].installed
    assert suites["gym"].version == gym.__version__
    assert {name for name, info in suites.items() if info.terminal_on_timeout} == {
        "atari",
        "atari100k",
    }
    assert suites["atari"].licence == "GPL-2.0-only" and suites["atari"].extra == "atari"
    assert suites["dmc"].apt and suites["atari"].action_repeat == 4


def test_lists_of_tasks_are_those_of_the_installed_packages():
    ale_py = pytest.importorskip("ale_py")
    gym.register_envs(ale_py)
    registered = {name[4:-3] for name in gym.registry if name.startswith("ALE/")}
    assert set(task_names.ATARI) == {name for name in registered if "-ram" not in name}
    pytest.importorskip("dm_control")
    rendering.select_backend(needed=False, who="tests")
    from dm_control import suite

    assert set(task_names.DMC) == {f"{domain}-{task}" for domain, task in suite.ALL_TASKS}


def test_gym_tasks_are_the_newest_versions_without_ours():
    tasks = dreamer_envs.tasks("gym")
    assert "CartPole-v1" in tasks and "CartPole-v0" not in tasks
    assert not any(task.startswith(("atari", "dmc", "pinpad", "toy", "ALE")) for task in tasks)


def _raise_flag():
    """An env of a user, whose name sounds like those that Gymnasium refuses with."""


@pytest.mark.parametrize("entry", ["minigrid_mine:MyEnv", "metaworlds.own:_raise_it", _raise_flag])
def test_modules_that_sound_like_those_of_suites_are_a_users_own(entry, monkeypatch):
    monkeypatch.setitem(gym.registry, "Own-v3", gym.envs.registration.EnvSpec("Own-v3", entry))
    assert dreamer_envs.canonical("Own-v3") == "gym/Own-v3"


@pytest.mark.parametrize("entry", ["minigrid.envs:MyEnv", "nle.env:NLE", "dreamer_envs.registry:x"])
def test_ids_of_other_suites_are_not_gymnasiums(entry, monkeypatch):
    monkeypatch.setitem(gym.registry, "Own-v3", gym.envs.registration.EnvSpec("Own-v3", entry))
    assert "Own-v3" not in dreamer_envs.tasks("gym")
    assert "Reacher-v2" not in dreamer_envs.tasks("gym")  # Gymnasium's own, which only raises


def test_options_lists_defaults_of_the_suite():
    assert dreamer_envs.options("atari")["size"] == 96
    small = dreamer_envs.options("atari100k/Pong")
    assert (small["size"], small["gray"], small["sticky"]) == (64, False, 0.0)
    assert (small["actions"], small["noops"]) == ("minimal", 30)
    assert "kwargs" not in dreamer_envs.options("gym")


@pytest.mark.parametrize(
    "text, options, words",
    [
        ("atari/Pong", {"stiky": 0.5}, ["'stiky'", "'sticky'", "noops"]),
        ("toy/catch", {"size": 3}, ["'size'", "render_mode"]),
        ("CartPole-v1", {"obs": "pixel"}, ["'pixel'", "pixels"]),
        ("CartPole-v1", {"observe": "pixels"}, ["observe"]),
        ("CartPole-v1", {"fast_render": True, "obs": "pixels"}, ["MuJoCo"]),
        ("toy/catch", {"render_mode": "human"}, ["'human'"]),
        ("CartPole-v1", {"action_repeat": 0}, ["at least 1"]),
        ("CartPole-v1", {"obs": "pixels", "size": 0}, ["size is 0 for gym/CartPole-v1", "least 1"]),
        ("CartPole-v1", {"obs": "pixels", "size": "big"}, ["size is 'big'", "whole number"]),
        ("pinpad/three", {"length": True}, ["length is True", "whole number"]),
        ("CartPole-v1", {"gray": "no"}, ["gray is 'no' for gym/CartPole-v1", "true or false"]),
        ("atari/Pong", {"sticky": "often"}, ["sticky is 'often' for atari/Pong", "a number"]),
        ("atari/Pong", {"sticky": True}, ["sticky is True"]),
        ("FrozenLake-v1", {"map_name": "9x9"}, ["gym/FrozenLake-v1", "map_name='9x9'"]),
        ("CartPole-v1", {"max_episode_steps": 0}, ["max_episode_steps=0", "positive"]),
    ],
)
def test_wrong_option(text, options, words):
    with pytest.raises(EnvOptionError) as error:
        dreamer_envs.make(text, **options)
    assert all(word in str(error.value) for word in words), error.value


def test_numbers_that_yaml_reads_as_text_are_numbers():
    options = dreamer_envs.maker("atari/Pong", sticky="1e-1").options
    assert options["sticky"] == 0.1
    assert dreamer_envs.maker("atari/Pong", sticky=0).options["sticky"] == 0


def test_a_missing_package_of_another_suite_is_named(clean_registry):
    dreamer_envs.register(
        dreamer_envs.SuiteSpec(
            "mine", "x", lambda task: None, ("line",), module="no_such_simulator"
        )
    )
    with pytest.raises(MissingPackageError, match="package 'no_such_simulator': pip install no_su"):
        dreamer_envs.make("mine/line")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(spec.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'dreamer-plugin\[atari\]'"):
        dreamer_envs.make("atari/Pong")
    with pytest.raises(MissingPackageError, match=r"\[dmc\]'.*apt-get install libegl1 libgl1"):
        dreamer_envs.make("dmc/walker-walk")
    assert not dreamer_envs.suite_of("atari/Pong").installed


def test_importing_the_package_imports_no_simulator():
    code = (
        "import sys, dreamer_envs; dreamer_envs.available(); dreamer_envs.canonical('walker_walk');"
        "print([m for m in ('torch', 'torchrl', 'ale_py', 'dm_control', 'mujoco', 'crafter') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_gymnasium_makes_our_ids():
    env = gym.make("dreamer_envs:toy/recall-v0")
    obs, _ = env.reset(seed=0)
    assert set(obs) == {"vector"}
    assert "gym/CartPole-v1-v0" not in gym.registry


def test_registering_with_gymnasium_leaves_existing_ids_alone(monkeypatch):
    mine = gym.envs.registration.EnvSpec("toy/catch-v0", entry_point="mine:Catch")
    monkeypatch.setitem(gym.registry, "toy/catch-v0", mine)
    dreamer_envs.registry.register_with_gymnasium()
    assert gym.registry["toy/catch-v0"] is mine


@pytest.fixture
def clean_registry(monkeypatch):
    monkeypatch.setattr(registry, "_SUITES", dict(registry._SUITES))


def make_recall(task, delay=8):
    env = Recall()
    env.DELAY = delay
    return env


MINE = dreamer_envs.SuiteSpec("mine", "a suite of a test", make_recall, ("maze", "long_maze"))


def test_register(clean_registry):
    dreamer_envs.register(MINE)
    assert dreamer_envs.canonical("Mine/Long-Maze") == "mine/long_maze"
    env = dreamer_envs.make("mine/maze", delay=3)
    assert set(env.observation_space.spaces) == {"vector"} and env.unwrapped.DELAY == 3
    with pytest.raises(ValueError, match="replace=True"):
        dreamer_envs.register(MINE)
    dreamer_envs.register(MINE, replace=True)
    with pytest.raises(ValueError, match="lower-case"):
        dreamer_envs.register(dreamer_envs.SuiteSpec("My Suite", "", make_recall, ()))
    with pytest.raises(ValueError, match="exists"):
        dreamer_envs.register(dreamer_envs.SuiteSpec("ale", "", make_recall, ()))


def test_an_exact_task_beats_those_that_are_spelled_alike(clean_registry):
    tasks = ("level-1-1", "level-11", "c", "c+", "c++")
    dreamer_envs.register(dreamer_envs.SuiteSpec("mine", "", make_recall, tasks))
    for task in tasks:
        for text in (f"mine/{task}", task, f"{task}-v0"):
            assert dreamer_envs.canonical(text) == f"mine/{task}"
    alike = "ambiguous: write 'mine/level-1-1' or 'mine/level-11'"
    for text in ("mine/Level_11", "Level_11", "mine-Level_11"):
        with pytest.raises(EnvIdError, match=alike):
            dreamer_envs.canonical(text)


class Entry:
    def __init__(self, name, value):
        self.name, self.value, self.dist = name, value, None

    def load(self):
        return self.value


def test_suites_of_other_packages_are_found_and_broken_ones_reported(clean_registry, monkeypatch):
    double = dreamer_envs.SuiteSpec("atari", "", make_recall, ())
    entries = [Entry("mine", MINE), Entry("broken", 3), Entry("double", double)]
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: entries)
    registry._load_plugins.cache_clear()
    with (
        pytest.warns(RuntimeWarning, match="'broken'.*not a SuiteSpec; `pip uninstall broken`"),
        pytest.warns(RuntimeWarning, match="'double'.*the name 'atari' is taken by 'Atari 2600"),
    ):
        assert "mine" in {info.name for info in dreamer_envs.available()}
    assert dreamer_envs.tasks("mine") == ["long_maze", "maze"]


def test_version_of_mujoco_is_checked(monkeypatch):
    pytest.importorskip("dm_control")
    from dreamer_envs.suites import dmc

    monkeypatch.setattr(dmc.importlib.metadata, "version", lambda name: "4.0.0")
    with pytest.raises(MissingPackageError, match="mujoco below 4, found 4.0.0: pip uninstall"):
        dmc.ControlSuite("walker-walk")


def test_no_renderer_names_the_system_packages(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "")  # restored afterwards, unlike a variable that was absent
    monkeypatch.setattr(rendering, "_loads", lambda libraries: False)
    monkeypatch.setattr(rendering.sys, "platform", "linux")
    assert rendering.select_backend(needed=False, who="x") == "disabled"
    with pytest.raises(MissingPackageError, match=r"dmc/walker-walk cannot draw.*libegl1 libgl1"):
        rendering.select_backend(needed=True, who="dmc/walker-walk")


def test_renderer_prefers_egl_and_respects_a_choice(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr(rendering.sys, "platform", "linux")
    monkeypatch.setattr(rendering, "_loads", lambda libraries: "OSMesa" in libraries[0])
    assert rendering.select_backend(needed=True, who="x") == "osmesa"
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert rendering.select_backend(needed=True, who="x") == "glfw"
