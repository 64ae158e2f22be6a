"""DeepMind Lab around a stand-in for its module (`lab_peer.py`); Lab itself never runs."""

from __future__ import annotations

import sys
import zlib

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import dreamer_envs
from dreamer_envs.errors import EnvIdError, EnvOptionError, MissingPackageError
from dreamer_envs.spec import SuiteSpec
from dreamer_envs.suites import dmlab
from tests.envs import lab_peer


@pytest.fixture
def lab(monkeypatch):
    """The stand-in in the place of the module; lists what it made."""
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: True)
    monkeypatch.setitem(sys.modules, "deepmind_lab", lab_peer)
    monkeypatch.setattr(lab_peer.Lab, "made", [])
    return lab_peer.Lab.made


def test_a_level_from_beginning_to_end(lab):
    env = dreamer_envs.make("dmlab/explore_goal_locations_small")
    assert (env.action_space.n, env.action_repeat) == (15, 4)
    assert env.metadata["render_fps"] == 15
    obs, _ = env.reset(seed=0)
    assert list(obs) == ["image"] and obs["image"].shape == (64, 64, 3)
    steps = [env.step(action) for action in (0, 6, 9, 14, 1)]
    assert [step[1] for step in steps] == [2.0] * 5
    assert [step[2:4] for step in steps] == [(False, False)] * 4 + [(True, False)]
    # Nothing can be seen of a level that is over: the last frame stays.
    assert [step[0]["image"][0, 0, 0] for step in steps] == [4, 8, 12, 16, 16]
    assert lab[0].actions == [
        [0, 0, 0, 1, 0, 0, 0], [-60, 0, 0, 0, 0, 0, 0], [0, -10, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0], [0, 0, 0, -1, 0, 0, 0],
    ]  # fmt: skip
    assert env.reset()[0]["image"][0, 0, 0] == 0
    env.close()
    assert lab[0].closed


def test_gymnasium_is_content(lab):
    check_env(dreamer_envs.make("dmlab/language_execute_random_task"), skip_render_check=True)


def test_what_lab_is_asked_for(lab):
    dreamer_envs.make("dmlab/rooms_collect_good_objects", size=32)
    dreamer_envs.make("dmlab/rooms_collect_good_objects_test", held_out=True, renderer="hardware")
    dreamer_envs.make("dmlab/demos/extra_entities", words=True, actions="impala")
    head = "contributed/dmlab30/rooms_collect_good_objects"
    assert [made.level for made in lab] == [
        f"{head}_train", f"{head}_test", "demos/extra_entities",
    ]  # fmt: skip
    assert lab[0].config == {"width": "32", "height": "32", "logLevel": "WARN"}
    assert lab[1].config["allowHoldOutLevels"] == "true" and lab[1].renderer == "hardware"
    assert lab[1].config["mixerSeed"] == str(0x600D5EED)
    assert [made.names[1:] for made in lab] == [[], [], ["INSTR"]]


def test_seeds_repeat_levels(lab):
    env = dreamer_envs.make("dmlab/rooms_watermaze")
    seeds = []
    for seed in (3, None, 3):
        env.reset(seed=seed)
        seeds.append(lab[0].seed)
    assert seeds[0] == seeds[2] != seeds[1]


def test_instructions_are_embedded_by_word(lab):
    env = dreamer_envs.make("dmlab/language_execute_random_task")
    obs, info = env.reset(seed=0)
    assert info["instruction"] == "Get the red_hat, now!"
    words = obs["instr"].reshape(32, 32)
    # Words as the official code cuts them: punctuation stands alone, "_" belongs to a word.
    for place, word in enumerate(["get", "the", "red_hat", ",", "now", "!"]):
        number = zlib.crc32(word.encode()) % (64 * 1024)
        np.testing.assert_array_equal(words[place], dmlab._table()[number])
    np.testing.assert_array_equal(words[6:], np.tile(dmlab._table()[0], (26, 1)))
    assert dmlab.embedding("a " * 50).shape == (1024,)
    # First draw of numpy's default generator of seed 0.
    assert dmlab._table()[0, 0] == pytest.approx(0.12573022)


def test_action_sets_are_the_official_ones():
    assert [len(actions) for actions in dmlab.ACTIONS.values()] == [15, 9]
    looks = [(action[0], action[3]) for action in dmlab.ACTIONS["popart"][10:14]]
    assert looks == [(-10, 1), (10, 1), (-60, 1), (60, 1)]


def test_names_of_levels():
    known = dreamer_envs.canonical
    assert known("dmlab/Rooms-Watermaze") == "dmlab/rooms_watermaze"
    assert known("deepmind_lab/contributed/dmlab30/rooms_watermaze") == "dmlab/rooms_watermaze"
    assert known("dmlab/rooms_exploit_deferred_effects_train").endswith("effects")
    assert known("dmlab/demos/extra_entities") == "dmlab/demos/extra_entities"
    with pytest.raises(EnvIdError, match="Did you mean 'dmlab/rooms_watermaze'"):
        known("dmlab/rooms_watermase")


@pytest.mark.parametrize(
    "options", [{"action_repeat": 0}, {"actions": "all"}, {"renderer": "cuda"}]
)
def test_wrong_values_are_named(lab, options):
    ((option, value),) = options.items()
    with pytest.raises(EnvOptionError, match=f"{option} is {value!r}"):
        dreamer_envs.make("dmlab/rooms_watermaze", **options)
    assert not lab


def test_without_lab_the_error_tells_how_to_build_it(monkeypatch):
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: not self.module)
    with pytest.raises(MissingPackageError, match="Bazel.*python=PATH"):
        dreamer_envs.make("dmlab/rooms_watermaze")
