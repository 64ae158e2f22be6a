"""Vectors that a library steps: the frames of single envs, from fewer calls."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

import dreamer_envs
from dreamer_envs.errors import EnvError, EnvOptionError, StateError
from dreamer_envs.spec import SuiteSpec
from dreamer_envs.vector import Frames, PoolVector, SerialVector, pool_of
from tests.envs import pool_peer

FIELDS = ("reward", "is_first", "is_last", "terminated", "present", "success")
REAL = importlib.util.find_spec("envpool") is not None
CUTS = {7: [1], 12: [0, 2], 13: [1]}  # call -> envs reset inside an episode


@pytest.fixture
def peer(monkeypatch):
    """The stand-in in the place of the module; lists the pools it made."""
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: True)
    monkeypatch.setitem(sys.modules, "envpool", pool_peer)
    monkeypatch.setattr("dreamer_envs.suites.envpool.find_spec", lambda name: pool_peer)
    monkeypatch.setattr(pool_peer, "made", [])
    return pool_peer.made


def test_an_env_without_a_seed_draws_one_once(peer):
    for _ in range(2):
        env = dreamer_envs.make("envpool/Count-v0")
        env.reset()
        env.reset()
    seeds = [int(pool.seeds[0]) for pool in peer]
    assert len(seeds) == 4 and seeds[1] != seeds[3]


def roll(vector, steps: int, cuts: dict[int, list[int]] | None = None) -> list[Frames]:
    """Frames of random play that resets what ended, and what `cuts` names."""
    vector.action_space.seed(1)
    reset = np.ones(vector.num_envs, bool)
    out = []
    for call in range(steps):
        sampled = [vector.action_space.sample() for _ in reset]
        reset[(cuts or {}).get(call, [])] = True
        actions = [None if r else a for r, a in zip(reset, sampled, strict=True)]
        out.append(vector.step(actions, reset))
        reset = out[-1].is_last.copy()
    return out


def assert_same(left: list[Frames], right: list[Frames]) -> None:
    for a, b in zip(left, right, strict=True):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            assert getattr(a, name).dtype == getattr(b, name).dtype
        assert a.obs.keys() == b.obs.keys()
        for key in a.obs:
            assert a.obs[key].dtype == b.obs[key].dtype
            np.testing.assert_array_equal(a.obs[key], b.obs[key])


def both(id: str, count: int, **options):
    """Frames through a pool, and through as many single envs."""
    makers = [dreamer_envs.maker(id, **options)] * count
    with PoolVector(makers, 3) as pool, SerialVector(makers, 3) as serial:
        assert pool.observation_space == serial.observation_space
        assert pool.action_space == serial.action_space
        assert pool.can_save is serial.can_save is False
        return roll(pool, 40, CUTS), roll(serial, 40, CUTS)


@pytest.mark.parametrize("lives", [False, True])
@pytest.mark.parametrize("id", ["envpool/Count-v0", "envpool/Look-v0"])
def test_the_frames_are_those_of_single_envs(peer, id, lives):
    together, alone = both(id, 5, lives=lives)
    assert_same(together, alone)
    assert sum(frames.is_last.sum() for frames in together) > 10  # the comparison has ends in it


def test_frames_follow_the_table(peer):
    """Lengths 4 to 6 by the seed; a row of a reset has no reward, whatever the library left."""
    with PoolVector([dreamer_envs.maker("envpool/Count-v0")] * 2, 3) as vector:
        frames = roll(vector, 8)
        lengths = (4 + peer[0].seeds % 3).tolist()
    for i, length in enumerate(lengths):
        rewards = [float(each.reward[i]) for each in frames[: length + 2]]
        assert rewards == [0.0, *map(float, range(1, length + 1)), 0.0]
        assert [bool(each.is_first[i]) for each in frames].index(True, 1) == length + 1
        last = frames[length]
        assert last.is_last[i] and last.terminated[i] and last.obs["told"][i, 2] > 1
        assert not frames[length + 1].is_last[i] and frames[length + 1].obs["told"][i, 2] == 0


def test_a_limit_is_last_but_not_terminated(peer):
    with PoolVector([dreamer_envs.maker("envpool/Count-v0", limit=3)]) as vector:
        frames = roll(vector, 5)
    assert [bool(each.is_last[0]) for each in frames] == [False, False, False, True, False]
    assert not any(each.terminated[0] for each in frames)


def test_ended_envs_go_along_and_a_cut_goes_by_name(peer):
    with PoolVector([dreamer_envs.maker("envpool/Count-v0")] * 3, 3) as vector:
        frames = roll(vector, 14, {2: [1]})
        calls = peer[0].calls
    assert calls[:4] == [
        ("reset", [0, 1, 2]),
        ("step", [0, 1, 2]),
        ("reset", [1]),
        ("step", [0, 2]),
    ]
    assert {name for name, _ in calls[4:]} == {"step"} and frames[2].is_first.tolist() == [0, 1, 0]
    assert any(each.is_first.any() for each in frames[3:])


def test_seeds_are_those_of_the_vector(peer):
    makers = [dreamer_envs.maker("envpool/Count-v0")] * 3
    with PoolVector(makers, 7) as pool, SerialVector(makers, 7) as serial:
        roll(pool, 1), roll(serial, 1)
        alone = [env.unwrapped._pool._pool.seeds[0] for env in serial.envs]
        assert peer[0].seeds.tolist() == alone and len(set(alone)) == 3


def test_new_seeds_are_those_of_single_envs(peer):
    makers = [dreamer_envs.maker("envpool/Count-v0")] * 3
    with PoolVector(makers, 3) as pool, SerialVector(makers, 3) as serial:
        frames = []
        for vector in (pool, serial):
            first = roll(vector, 4)
            vector.reseed(40)
            frames.append([*first, *roll(vector, 20)])
    assert_same(*frames)
    assert not np.array_equal(peer[0].seeds, peer[-1].seeds)


def test_what_does_not_fit_names_the_env(peer):
    with PoolVector([dreamer_envs.maker("envpool/Count-v0", bad=1)] * 3) as vector:
        with pytest.raises(EnvError, match=r"Env 1 \(envpool/Count-v0\).*'told' holds nan"):
            roll(vector, 8)


def test_an_unasked_beginning_is_an_error(peer):
    with PoolVector([dreamer_envs.maker("envpool/Count-v0")] * 2) as vector:
        roll(vector, 2)
        peer[0].over[1] = True  # as if the library had ended an episode without a word
        with pytest.raises(EnvError, match=r"Env 1 .*began an episode unasked"):
            vector.step([np.zeros(2)] * 2, [False, False])


def test_a_wrong_call_is_refused(peer):
    makers = [dreamer_envs.maker("envpool/Count-v0")] * 2
    with pytest.raises(ValueError, match=r"toy/catch.*takes equal makers"):
        PoolVector([dreamer_envs.maker("toy/catch")])
    with pytest.raises(EnvOptionError, match="does not make 'Count-v0' with {'lenght': 3}"):
        PoolVector([dreamer_envs.maker("envpool/Count-v0", lenght=3)])
    with pytest.raises(EnvOptionError, match="batch_size"):
        PoolVector([dreamer_envs.maker("envpool/Count-v0", batch_size=1)] * 2)
    vector = PoolVector(makers)
    with pytest.raises(ValueError, match="has no running episode"):
        vector.step([None] * 2, [True, False])
    with pytest.raises(StateError, match="cannot save"):
        vector.state_dict()
    vector.close()
    vector.close()
    with pytest.raises(EnvError, match="closed"):
        vector.step([None] * 2, [True] * 2)


def test_a_pool_needs_equal_makers_in_this_python(peer, monkeypatch):
    maker = dreamer_envs.maker("envpool/Count-v0")
    assert pool_of([maker, dreamer_envs.maker("envpool/Count-v0")]) == maker
    assert pool_of([maker, dreamer_envs.maker("envpool/Count-v0", length=5)]) is None
    assert pool_of([maker, lambda: maker()]) is None and pool_of([lambda: maker()]) is None
    assert pool_of([dreamer_envs.maker("toy/catch")]) is None
    elsewhere = dreamer_envs.maker("envpool/Count-v0", python=sys.executable)
    assert pool_of([elsewhere]) is None


def test_the_plan_of_a_run_knows_a_pool(peer):
    from dreamer_plugin.config import compose
    from dreamer_plugin.doors.cli_config import env_facts

    assert env_facts(compose("envpool/Count-v0").config).pooled
    assert not env_facts(compose("toy/catch").config).pooled


@pytest.mark.skipif(not REAL, reason="needs the package envpool")
@pytest.mark.parametrize(
    ("id", "options"),
    [
        ("envpool/CartPole-v1", {}),
        ("envpool/CartPole-v1", {"max_episode_steps": 9}),
        ("envpool/WalkerWalk-v1", {"max_episode_steps": 9}),
        ("envpool/HalfCheetah-v4", {"max_episode_steps": 9}),
        ("envpool/Pong-v5", {"max_episode_steps": 9}),
        ("envpool/Breakout-v5", {"episodic_life": True, "frame_skip": 20}),
    ],
)
def test_envpool_itself_gives_the_frames_of_its_single_envs(id, options):
    together, alone = both(id, 3, **options)
    assert_same(together, alone)
    assert sum(frames.is_last.sum() for frames in together) > 2
