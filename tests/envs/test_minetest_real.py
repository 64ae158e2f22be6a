"""Minetest itself, where Debian's packages and the extra `minetest` are installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import time

import numpy as np
import pytest

import dreamer_envs
from dreamer_envs.errors import EnvError, MissingPackageError
from dreamer_envs.minetest import game
from dreamer_envs.suites import minetest
from dreamer_envs.vector import SupervisedVector, Supervision

from .minetest_soak import game_processes, name_of, resident

PATIENCE = 120.0  # seconds; the machine may be busy
PLAY = {"length": 100, "patience": PATIENCE}


def _installed():
    try:
        game.find_programs("minetest")
    except MissingPackageError:
        return False
    return importlib.util.find_spec("Xlib") is not None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _installed(), reason=f"needs python-xlib and apt: {game.APT}"),
]


@pytest.fixture
def nothing_left():
    """The test leaves no program of the game."""
    before = game_processes()
    yield before
    end = time.monotonic() + 60
    while game_processes() - before:
        assert time.monotonic() < end, [name_of(n) for n in game_processes() - before]
        time.sleep(0.1)


def test_a_thousand_random_steps(nothing_left):
    env = dreamer_envs.make("minetest/dig", **PLAY)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    files, memory, earned, steps, starts = [], [], 0.0, 0, []
    while steps < 1000:
        obs, reward, terminated, truncated, info = env.step(rng.integers(env.action_space.n))
        assert not terminated
        assert env.observation_space.contains(obs)
        steps += 1
        earned += reward
        if truncated:
            # The reward is the mod's own count, paid once.
            assert earned == info["counts"]["dig"] and sum(info["inventory"].values()) <= earned
            obs, info = env.reset()
            assert info["inventory"] == {} and set(info["counts"].values()) == {0}
            assert obs["image"].std() > 5  # a world, not an empty screen
            starts.append(info["pos"])
            earned = 0.0
            files.append(len(os.listdir("/proc/self/fd")))
            memory.append(resident(os.getpid()))
    assert len(set(starts)) == 10
    assert len(set(files)) == 1
    assert memory[-1] - memory[2] < 20
    env.close()


def test_keys_and_mouse_do_what_they_say(nothing_left):
    env = minetest.Minetest("explore", patience=PATIENCE)
    names = list(minetest.ACTIONS)

    def play(name, times):
        for _ in range(times):
            seen = env.step(names.index(name))
        for _ in range(5):  # what the client did reaches the server a little later
            seen = env.step(0)
        return seen[-1]

    env.reset(seed=1)
    before = play("noop", 1)
    right = play("look_right", 6)
    turned = np.degrees(before["yaw"] - right["yaw"]) % 360
    assert turned == pytest.approx(90, abs=2)
    down = play("look_down", 10)  # the limit ends it at 60 degrees
    assert np.degrees(down["pitch"]) == pytest.approx(60, abs=2)
    dug = play("dig", 10)
    assert dug["counts"]["dig"] >= 1
    play("look_up", 4)
    walked = [play(name, 30) for name in ("jump", "back", "left", "right")]
    far = [np.subtract(a["pos"], b["pos"]) for a, b in zip(walked, [dug, *walked], strict=False)]
    assert max(np.abs(each).max() for each in far) > 1
    env.close()


@pytest.mark.parametrize("program", game.PROGRAMS)
def test_a_killed_program_is_an_error_and_the_next_reset_starts_anew(nothing_left, program):
    env = minetest.Minetest("treechop", patience=PATIENCE)
    env.reset(seed=0)
    (victim,) = (n for n in game_processes() - nothing_left if name_of(n) == program)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(EnvError, match=rf"minetest/treechop failed: .*{program}.* code -9"):
        for _ in range(100):
            env.step(1)
    assert env.reset()[0].shape == (64, 64, 3)
    env.close()


def test_the_supervised_vector_restarts_it(nothing_left):
    rules = Supervision(timeout=2 * PATIENCE)
    maker = dreamer_envs.maker("minetest/explore", **PLAY)
    with SupervisedVector([maker], supervision=rules) as vector:
        vector.step([None], [True])
        vector.step([1], [False])
        victim = next(n for n in game_processes() - nothing_left if name_of(n) == "minetest")
        os.kill(victim, signal.SIGKILL)
        reset = False
        frames = [vector.step([1], [reset])]
        while not frames[-1].is_first[0]:
            frames.append(vector.step([1], [frames[-1].is_last[0]]))
        assert "minetest ended with code -9" in vector.faults[0].reason
        # A hanging client counts as dead too, and a killed worker takes its game along.
        os.kill(vector._processes[0].pid, signal.SIGKILL)
    assert frames[-1].present[0]
