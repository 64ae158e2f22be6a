"""Envs that fail in every way do not end the run, and what is recorded of them stays honest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import dreamer_envs
from dreamer_envs import state
from dreamer_envs.errors import EnvError, StateError
from dreamer_envs.supervision import Docket, Supervision
from dreamer_envs.vector import ProcessVector, SupervisedVector
from tests.envs.test_vector import assert_same, roll

FAILING = 3  # the action at which the odd envs fail
KINDS = {
    "raise": "ArithmeticError: the pole fell",
    "die": "exit code 7",
    "kill": "exit code -9",
    "crash": "exit code -11",
    "hang": "no answer within 1 s",
    "nan": "nan",
}
QUICK = Supervision(timeout=1.0, pause=0.01)


@pytest.fixture
def pair(odd_envs):
    """Makes a vector of a well env and one that fails in the given way."""

    def make(trouble, rules=QUICK):
        makers = [odd_envs.plain, odd_envs.Troubled(trouble)]
        return SupervisedVector(makers, 0, rules)

    return make


def step(vector, action, reset=False):
    return vector.step([0, action], [reset, reset])


def until_back(vector, frames):
    """Steps until all envs are present again; how many calls that took."""
    for calls in range(1, 1000):
        frames = vector.step([0] * vector.num_envs, frames.is_last)
        if frames.present.all():
            return frames, calls
        time.sleep(0.01)
    raise AssertionError("it did not come back")


@pytest.mark.parametrize("trouble", KINDS)
def test_a_failing_env_is_cut_restarted_and_goes_on(pair, trouble, caplog):
    with pair(trouble) as vector:
        step(vector, None, reset=True)
        before = step(vector, 0)
        began = time.monotonic()
        frames = step(vector, FAILING)
        took = time.monotonic() - began
        assert frames.present.tolist() == [True, False]
        assert frames.is_last.tolist() == [False, True] and not frames.terminated.any()
        assert frames.reward.tolist() == [1.0, 0.0]
        np.testing.assert_array_equal(frames.obs["vector"][1], before.obs["vector"][1])
        assert took < QUICK.timeout + 1  # the goal of the issue: the deadline and a second
        frames, _ = until_back(vector, frames)
        assert frames.is_first.tolist() == [False, True]
        assert step(vector, 0).present.all()
        (fault,) = vector.faults
        assert (fault.env, fault.id) == (1, "troubled") and KINDS[trouble] in fault.reason
        assert KINDS[trouble] in caplog.text and "starting again" in caplog.text


def test_without_faults_the_frames_are_those_of_unsupervised_processes():
    makers = [dreamer_envs.maker("toy/mixed")] * 3
    with ProcessVector(makers, 3) as plain, SupervisedVector(makers, 3) as vector:
        assert_same(roll(plain, 40), roll(vector, 40))
        saved = state.loads(state.dumps(vector.state_dict()))
        plain.load_state_dict(saved)
        reset = np.zeros(3, np.bool_) | ~plain._running
        assert_same(roll(plain, 20, reset), roll(vector, 20, reset))
        assert not vector.faults


def test_an_env_that_fails_too_often_is_given_up_and_the_others_go_on(pair):
    rules = Supervision(timeout=5, pause=0.01, budget=2, min_envs=1)
    with pair("raise", rules) as vector:
        frames = step(vector, None, reset=True)
        step(vector, 0)
        for _ in range(3):
            frames = step(vector, FAILING)
            if vector.envs_left == 2:
                frames, _ = until_back(vector, frames)
        assert vector.envs_left == 1 and len(vector.faults) == 3
        assert vector.faults[-1].pause is None and "given up" in str(vector.faults[-1])
        for _ in range(5):
            frames = vector.step([0, None], [False, True])
            assert frames.present.tolist() == [True, False]


def test_too_few_envs_left_is_an_error_that_tells_why(pair):
    with pair("raise", Supervision(timeout=5, budget=0, min_envs=2)) as vector:
        step(vector, None, reset=True)
        step(vector, 0)
        with pytest.raises(EnvError, match=r"Only 1 of 2 envs .*env 1 \(troubled\).*the pole fell"):
            step(vector, FAILING)


def test_an_env_that_never_worked_is_a_mistake_and_not_a_fault(pair):
    with pair("raise") as vector:
        step(vector, None, reset=True)
        with pytest.raises(EnvError, match=r"Env 1 \(troubled\).*before its first step.*the pole"):
            step(vector, FAILING)


def test_an_env_that_is_never_built_is_reported(odd_envs):
    began = time.monotonic()
    with pytest.raises(EnvError, match=r"Env 0 \(hanging_builder\).*built within 1 s"):
        SupervisedVector([odd_envs.hanging_builder], 0, Supervision(start=1.0))
    assert time.monotonic() - began < 15  # closing waits, then kills


def test_the_only_env_is_waited_for(odd_envs):
    with SupervisedVector([odd_envs.Troubled("die")], 0, QUICK) as vector:
        vector.step([None], [True])
        vector.step([0], [False])
        assert not vector.step([FAILING], [False]).present.any()
        frames = vector.step([None], [True])
        assert frames.present.all() and frames.is_first.all()


def test_a_down_env_has_no_state_to_save_and_a_death_between_steps_is_noticed(pair):
    makers = [dreamer_envs.maker("toy/catch")] * 2
    with SupervisedVector(makers, 0, QUICK) as vector:
        step(vector, None, reset=True)
        frames = step(vector, 0)
        os.kill(vector._processes[1].pid, signal.SIGKILL)
        with pytest.raises(StateError, match=r"Env 1 \(toy/catch\) is down"):
            vector.state_dict()
        frames = step(vector, 0)
        assert frames.present.tolist() == [True, False]
        frames, _ = until_back(vector, frames)
        assert len(vector.state_dict()["envs"]) == 2


def test_the_only_env_that_dies_between_steps_is_cut_before_it_begins_anew():
    with SupervisedVector([dreamer_envs.maker("toy/catch")], 0, QUICK) as vector:
        vector.step([None], [True])
        frames = vector.step([1], [False])
        os.kill(vector._processes[0].pid, signal.SIGKILL)
        with pytest.raises(StateError, match="is down"):
            vector.state_dict()
        frames = vector.step([1], frames.is_last)
        assert not frames.present[0] and frames.is_last[0]
        frames = vector.step([None], frames.is_last)
        assert frames.present[0] and frames.is_first[0]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_envs_left_is_told_also_where_their_states_were_not_to_be_had(count):
    makers, rules = [dreamer_envs.maker("toy/catch")] * count, replace(QUICK, budget=0)
    with SupervisedVector(makers, 0, replace(rules, min_envs=count)) as vector:
        vector.step([None] * count, [True] * count)
        frames = vector.step([1] * count, [False] * count)
        os.kill(vector._processes[0].pid, signal.SIGKILL)
        with pytest.raises(EnvError, match="envs are left"):
            vector.state_dict()
        with pytest.raises(EnvError, match="envs are left"):
            vector.step([1] * count, frames.is_last)


def test_what_an_env_has_started_it_can_end(odd_envs):
    with SupervisedVector([odd_envs.starting], 0, Supervision(timeout=20.0)) as vector:
        frames = vector.step([None], [True])
        assert vector.step([0], [False]).present[0]  # it has ended a program and begun the next
        assert frames.present[0] and not vector.faults


def test_a_restarted_env_does_not_play_the_same_episode_again():
    makers = [dreamer_envs.maker("CartPole-v1")] * 2
    with SupervisedVector(makers, 0, QUICK) as vector:
        first = step(vector, None, reset=True)
        step(vector, 0)
        os.kill(vector._processes[1].pid, signal.SIGKILL)
        frames, _ = until_back(vector, step(vector, 0))
        assert not np.array_equal(frames.obs["vector"][1], first.obs["vector"][1])


def test_restarted_envs_play_new_episodes_after_a_resumption_too():
    makers = [dreamer_envs.maker("Acrobot-v1")] * 2  # 500 steps: env 0 plays on meanwhile

    def first_after_a_fault(vector):
        os.kill(vector._processes[1].pid, signal.SIGKILL)
        return until_back(vector, step(vector, 0))[0].obs["vector"][1].tolist()

    with SupervisedVector(makers, 0, QUICK) as vector:
        vector.reseed(7)
        step(vector, None, reset=True)
        step(vector, 0)
        earlier = first_after_a_fault(vector)
        step(vector, 0)
        saved = vector.state_dict()
        whole = first_after_a_fault(vector)
    with SupervisedVector(makers, 0, QUICK) as vector:
        vector.load_state_dict(saved)
        step(vector, 0)
        resumed = first_after_a_fault(vector)
    assert earlier != whole == resumed


def test_pauses_grow_to_a_limit_and_old_faults_are_forgotten():
    rules = Supervision(pause=0.1, longest=1.0, window=100.0, budget=5)
    docket = Docket(rules, ["a", "b"])
    pauses = [docket.add(0, "x", now=float(t)).pause for t in range(5)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0]  # doubled from `pause`, at most `longest`
    assert docket.add(0, "x", now=102.5).pause == 0.4  # those at 0, 1 and 2 are older than 100 s
    assert docket.add(1, "x", now=103.0).pause == 0.1
    assert docket.gone == [False, False]


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
import odd_envs
from dreamer_envs.vector import SupervisedVector
vector = SupervisedVector([odd_envs.Troubled("hang")])
vector.step([None], [True])
print(vector._processes[0].pid, flush=True)
vector.step([3], [False])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends such workers")
def test_a_killed_program_leaves_no_hanging_worker(tmp_path, odd_envs):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    command = [sys.executable, str(path), os.path.dirname(odd_envs.__file__)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        pid = int(script.stdout.readline())
        time.sleep(0.2)  # it hangs now
        script.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and os.path.exists(f"/proc/{pid}"):
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")
