"""Vectors of envs: equal frames in one process and in many, honest errors, exact resumption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import dreamer_envs
from dreamer_envs import shared, state, workers
from dreamer_envs.errors import EnvError, StateError
from dreamer_envs.frames import env_seed, told_success
from dreamer_envs.vector import Frames, ProcessVector, SerialVector

IDS = ["CartPole-v1", "toy/catch", "toy/mixed", "toy/reach"]
BOTH = pytest.mark.parametrize("kind", [SerialVector, ProcessVector])
FIELDS = ("reward", "is_first", "is_last", "terminated", "success")


def roll(vector, steps, reset=None, seed=1) -> list[Frames]:
    """Frames of random play, resetting what ended."""
    vector.action_space.seed(seed)
    reset = np.ones(vector.num_envs, bool) if reset is None else reset
    out = []
    for _ in range(steps):
        actions = [None if r else vector.action_space.sample() for r in reset]
        out.append(vector.step(actions, reset))
        reset = out[-1].is_last
    return out


def assert_same(left: list[Frames], right: list[Frames]):
    for a, b in zip(left, right, strict=True):
        assert a.obs.keys() == b.obs.keys()
        for key in a.obs:
            assert a.obs[key].dtype == b.obs[key].dtype
            np.testing.assert_array_equal(a.obs[key], b.obs[key])
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("id", IDS)
def test_processes_give_the_frames_of_one_process(id):
    makers = [dreamer_envs.maker(id)] * 3
    with SerialVector(makers, 3) as serial, ProcessVector(makers, 3) as process:
        assert serial.observation_space == process.observation_space
        assert serial.action_space == process.action_space
        assert serial.can_save and process.can_save
        assert_same(roll(serial, 60), roll(process, 60))


def test_frames_follow_the_table():
    """An episode of N transitions gives N + 1 frames; toy/catch has 8 transitions."""
    with SerialVector([dreamer_envs.maker("toy/catch")] * 2) as vector:
        frames = roll(vector, 18)
    first = np.array([f.is_first[0] for f in frames])
    last = np.array([f.is_last[0] for f in frames])
    reward = np.array([f.reward[0] for f in frames])
    assert np.flatnonzero(first).tolist() == [0, 9] and np.flatnonzero(last).tolist() == [8, 17]
    assert [f.terminated[0] for f in frames] == last.tolist()
    assert reward[first].tolist() == [0.0, 0.0] and set(np.abs(reward[last])) == {1.0}
    assert frames[0].obs["image"].shape == (2, 64, 64, 3) and frames[0].reward.dtype == np.float32


@BOTH
def test_success_is_what_the_info_says(kind, odd_envs):
    with kind([odd_envs.telling]) as vector:
        frames = roll(vector, 9)  # twice a reset and three steps, and a reset
    assert [int(f.success[0]) for f in frames] == [-1, 0, 0, 0, -1, 0, 0, 1, -1]


def test_time_limits_are_last_but_not_terminated():
    with SerialVector([dreamer_envs.maker("toy/reach")]) as vector:
        frames = roll(vector, 21)
    assert frames[-1].is_last[0] and not any(f.terminated[0] for f in frames)


def test_seeds_are_of_the_env_and_the_vector():
    maker = dreamer_envs.maker("CartPole-v1")

    def first(count, seed):
        with SerialVector([maker] * count, seed) as vector:
            return roll(vector, 1)[0].obs["vector"]

    np.testing.assert_array_equal(first(2, 7), first(3, 7)[:2])  # env i does not depend on N
    assert len(np.unique(first(3, 7), axis=0)) == 3
    assert not np.array_equal(first(2, 7), first(2, 8))
    env = dreamer_envs.make("CartPole-v1")
    np.testing.assert_array_equal(env.reset(seed=env_seed(7, 1))[0]["vector"], first(2, 7)[1])


def test_later_resets_differ_from_the_first():
    with SerialVector([dreamer_envs.maker("CartPole-v1")]) as vector:
        one = vector.step([None], [True]).obs["vector"]
        two = vector.step([None], [True]).obs["vector"]
    assert not np.array_equal(one, two)


def test_frames_stay_as_they_were():
    with ProcessVector([dreamer_envs.maker("CartPole-v1")]) as vector:
        first = vector.step([None], [True])
        kept = first.obs["vector"].copy()
        vector.step([0], [False])
    np.testing.assert_array_equal(first.obs["vector"], kept)


@BOTH
def test_stepping_without_an_episode_is_an_error(kind):
    with kind([dreamer_envs.maker("toy/catch")] * 2) as vector:
        with pytest.raises(ValueError, match=r"Env 0 \(toy/catch\) has no running episode"):
            vector.step([0, 0], [False, False])
        for step in range(9):
            vector.step([0, 0], [step == 0] * 2)
        with pytest.raises(ValueError, match="reset it first"):
            vector.step([0, 0], [False, True])
        with pytest.raises(ValueError, match="as many actions"):
            vector.step([0], [False, True])


@BOTH
def test_error_in_an_env_reaches_the_caller(kind, odd_envs):
    with kind([odd_envs.plain, odd_envs.raising]) as vector:
        vector.step([None, None], [True, True])
        with pytest.raises(EnvError) as error:
            vector.step([0, 3], [False, False])
        message = str(error.value)
        assert "Env 1 (raising)" in message
        assert "ArithmeticError: the pole fell through the floor" in message
        if kind is ProcessVector:
            assert "odd_envs.py" in message  # where it happened in the worker
        vector.step([None, None], [True, True])  # the vector itself still works


@BOTH
def test_a_module_that_registers_an_env_is_imported_in_workers_too(kind, odd_envs):
    dreamer_envs.allow_import("odd_registered")
    makers = [dreamer_envs.maker("gym/odd_registered:Odd-v0")] * 2
    try:
        with kind(makers) as vector:
            assert vector.step([None, None], [True, True]).obs["vector"].shape == (2, 2)
    finally:
        del gym.registry["Odd-v0"], sys.modules["odd_registered"]


def test_error_while_building_reaches_the_caller(odd_envs):
    with pytest.raises(EnvError, match=r"Env 1 \(unbuildable\).*no ROM called left_shoe"):
        ProcessVector([odd_envs.plain, odd_envs.unbuildable])


def test_death_of_a_process_is_reported(odd_envs):
    with ProcessVector([odd_envs.plain, odd_envs.dying]) as vector:
        vector.step([None, None], [True, True])
        with pytest.raises(EnvError, match=r"Env 1 \(dying\).*exit code 7"):
            vector.step([0, 3], [False, False])
        with pytest.raises(EnvError, match=r"Env 1 \(dying\)"):
            vector.step([None, None], [True, True])


def test_unlike_envs_are_refused():
    makers = [dreamer_envs.maker("CartPole-v1"), dreamer_envs.maker("toy/catch")]
    for kind in (SerialVector, ProcessVector):
        with pytest.raises(ValueError, match=r"Env 1 \(toy/catch\).*env 0 \(gym/CartPole-v1\)"):
            kind(makers)
    with pytest.raises(ValueError, match="at least one env"):
        SerialVector([])


def test_envs_must_be_in_the_common_form(odd_envs):
    with pytest.raises(ValueError, match=r"dreamer_envs\.wrap"):
        SerialVector([odd_envs.unwrapped])
    with pytest.raises(EnvError, match=r"dreamer_envs\.wrap"):
        ProcessVector([odd_envs.unwrapped])


def test_what_cannot_be_sent_is_refused_with_the_remedy():
    with pytest.raises(EnvError, match=r"Env 0 .*cannot be sent.*dreamer_envs\.maker\(id\)"):
        ProcessVector([lambda: dreamer_envs.make("toy/catch")])


@BOTH
@pytest.mark.parametrize("id", IDS)
def test_resumes_in_the_middle_of_episodes(kind, id):
    makers = [dreamer_envs.maker(id)] * 2
    with kind(makers, 5) as vector, kind(makers, 99) as other:
        reset = roll(vector, 14)[-1].is_last
        saved = state.loads(state.dumps(vector.state_dict()))
        expected = roll(vector, 40, reset, seed=2)
        other.load_state_dict(saved)
        assert_same(expected, roll(other, 40, reset, seed=2))


def test_processes_make_a_step_that_was_begun_before_anybody_waits_for_it():
    with ProcessVector([dreamer_envs.maker("toy/catch")] * 2) as vector:
        assert vector.ahead and not SerialVector.ahead
        vector.send([None, None], [True, True])
        assert vector.begun
        assert all(pipe.poll(60) for pipe in vector._pipes)  # both have answered
        assert vector.receive().is_first.all() and not vector.begun


@BOTH
def test_a_step_is_begun_once_and_received_once(kind):
    with kind([dreamer_envs.maker("toy/catch")]) as vector:
        with pytest.raises(ValueError, match="send one first"):
            vector.receive()
        vector.send([None], [True])
        for begin in (vector.send, vector.step):
            with pytest.raises(ValueError, match="begun before: receive its frames"):
                begin([None], [True])
        vector.receive()
        vector.step([0], [False])


@BOTH
@pytest.mark.parametrize("id", IDS)
def test_a_step_that_was_begun_is_part_of_the_state(kind, id):
    makers = [dreamer_envs.maker(id)] * 2
    with kind(makers, 5) as vector, kind(makers, 99) as other:
        reset = roll(vector, 14)[-1].is_last
        vector.action_space.seed(3)
        vector.send([vector.action_space.sample() for _ in reset], reset)
        saved = state.loads(state.dumps(vector.state_dict()))
        other.send([None, None], [True, True])  # is dropped
        other.load_state_dict(saved)
        assert other.begun
        one, two = vector.receive(), other.receive()
        assert_same([one], [two])
        assert_same(roll(vector, 40, one.is_last, 2), roll(other, 40, two.is_last, 2))


def test_a_failure_in_a_step_that_was_begun_is_told_when_it_is_received(odd_envs):
    with ProcessVector([odd_envs.plain, odd_envs.raising]) as vector:
        vector.step([None, None], [True, True])
        vector.send([0, 3], [False, False])
        with pytest.raises(EnvError, match=r"Env 1 \(raising\)"):
            vector.receive()
        vector.step([None, None], [True, True])


def test_resumes_before_the_first_reset():
    makers = [dreamer_envs.maker("CartPole-v1")] * 2
    with SerialVector(makers, 5) as vector, SerialVector(makers, 99) as other:
        other.load_state_dict(vector.state_dict())
        assert_same(roll(vector, 3), roll(other, 3))


@BOTH
def test_envs_that_cannot_save_say_so(kind, odd_envs):
    with kind([odd_envs.plain]) as vector:
        assert not vector.can_save
        with pytest.raises((StateError, EnvError), match="Plain cannot save its state"):
            vector.state_dict()


def test_state_of_another_number_of_envs_is_refused():
    maker = dreamer_envs.maker("toy/catch")
    with SerialVector([maker]) as one, SerialVector([maker] * 2) as two:
        with pytest.raises(StateError, match="of 1 envs, this vector has 2"):
            two.load_state_dict(one.state_dict())


def test_workers_hold_neither_torch_nor_the_main_script(odd_envs, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(sys.modules["__main__"], "MARK_OF_THE_MAIN_SCRIPT", 1, raising=False)
    with SerialVector([odd_envs.imports]) as vector:
        assert vector.step([None], [True]).obs["vector"].tolist() == [[1.0, 1.0]]
    with ProcessVector([odd_envs.imports]) as vector:
        assert vector.step([None], [True]).obs["vector"].tolist() == [[0.0, 0.0]]


def test_workers_see_the_environment_of_their_start(odd_envs, monkeypatch):
    monkeypatch.setenv("ASKED_FOR", "")
    with ProcessVector([odd_envs.asking]):  # the fork server runs from now on at the latest
        monkeypatch.setenv("ASKED_FOR", "raise")
    with ProcessVector([odd_envs.asking]) as vector:
        vector.step([None], [True])
        with pytest.raises(EnvError, match="fell through the floor"):
            vector.step([3], [False])
    monkeypatch.delenv("ASKED_FOR")
    with pytest.raises(EnvError, match="KeyError: 'ASKED_FOR'"):
        ProcessVector([odd_envs.asking])


def test_closing_ends_the_processes_and_may_be_repeated():
    vector = ProcessVector([dreamer_envs.maker("toy/catch")] * 2)
    processes = list(vector._processes)
    vector.close()
    vector.close()
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(EnvError, match="closed"):
        vector.step([None] * 2, [True] * 2)


def test_closing_waits_once_for_all_that_hang(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 3.0)
    vector = ProcessVector([dreamer_envs.maker("toy/catch")] * 4)
    for process in vector._processes:
        os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    vector.close()
    assert 3.0 <= time.monotonic() - began < 9.0  # twelve, one after the other


SCRIPT = """
import os, sys, time
import dreamer_envs, gymnasium
from dreamer_envs.vector import ProcessVector
from dreamer_envs.toy import Catch
class Mine(Catch):
    pass
gymnasium.register("OfTheScript-v0", entry_point=Mine)
def mine():
    return dreamer_envs.wrap(Mine())
if __name__ == "__main__":
    with ProcessVector([mine]) as vector:
        print(sorted(vector.step([None], [True]).obs))
    vector = ProcessVector([dreamer_envs.maker("gym/OfTheScript-v0")] * 2)
    print(vector.step([None] * 2, [True] * 2).obs["image"].shape)
    print(*[process.pid for process in vector._processes], flush=True)
    time.sleep(60)
"""


def test_scripts_envs_and_a_killed_script_leaves_no_process(tmp_path):
    """Envs of the main script work, as do ids it registered; workers end when it is killed."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        lines = [script.stdout.readline().strip() for _ in range(3)]
        script.send_signal(signal.SIGKILL)
    assert lines[:2] == ["['image']", "(2, 64, 64, 3)"]
    pids = [int(pid) for pid in lines[2].split()]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(os.path.exists(f"/proc/{pid}") for pid in pids):
        time.sleep(0.05)
    assert len(pids) == 2 and not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_actions_and_spaces_of_every_kind_cross_the_process_border():
    inner = spaces.Dict({"turn": spaces.MultiDiscrete([2, 3]), "go": spaces.Box(-1.0, 1.0, (2,))})
    action = spaces.Dict({"hand": inner, "speak": spaces.Discrete(4)})
    seen = spaces.Dict({"image": spaces.Box(0, 255, (16, 16, 3), np.uint8)})
    data = shared.encode_spaces(seen, action, can_save=True)
    assert shared.decode_spaces(data) == (seen, action, True)
    fields = shared.layout(seen, action, num_envs=2)
    arrays = {name: np.zeros(shape, dtype) for name, shape, dtype in fields}
    action.seed(0)
    given = action.sample()
    shared.write_action(action, arrays, 1, given)
    read = shared.read_action(action, arrays, 1)
    assert action.contains(read) and read["speak"] == given["speak"]
    for key, value in given["hand"].items():
        np.testing.assert_array_equal(read["hand"][key], value)
    with pytest.raises(ValueError, match="common form"):
        shared.encode_spaces(seen, spaces.Text(3), can_save=True)


def test_new_seeds_begin_other_episodes():
    with SerialVector([dreamer_envs.maker("CartPole-v1")] * 2) as vector:
        first = vector.step([None] * 2, [True] * 2).obs["vector"]
        vector.reseed(40)
        anew = vector.step([None] * 2, [True] * 2).obs["vector"]
        vector.reseed(0)
        again = vector.step([None] * 2, [True] * 2).obs["vector"]
    assert len(np.unique(np.concatenate([first, anew]), axis=0)) == 4
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"success": np.array([True, False])}, -1),
        ({"is_success": float("nan")}, -1),
        ({"success": None}, -1),
        ({"success": "no"}, -1),
        ({"is_success": None, "success": np.array(1.0)}, 1),
        ({"success": np.False_}, 0),
    ],
)
def test_what_is_no_truth_value_says_nothing_of_success(info, told):
    assert told_success(info) == told


@BOTH
def test_an_id_registered_over_one_of_gymnasiums_classes_is_the_env_that_runs(kind, monkeypatch):
    place = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
    for id, steps in (("ShortPole-v0", 4), ("CartPole-v1", 3)):
        monkeypatch.setitem(gym.registry, id, gym.envs.registration.EnvSpec(id))
        gym.register(id, entry_point=place, max_episode_steps=steps)
        with kind([dreamer_envs.maker(f"gym/{id}")]) as vector:
            frames = roll(vector, steps + 1)
        assert [frame.is_last[0] for frame in frames] == [False] * steps + [True]


def test_a_closed_vector_says_so():
    vector = SerialVector([dreamer_envs.maker("toy/catch")])
    vector.close()
    with pytest.raises(EnvError, match="This vector is closed"):
        vector.step([None], [True])


def test_what_was_made_is_closed_where_another_cannot_be(odd_envs):
    closed = []

    def made():
        env = odd_envs.plain()
        env.unwrapped.close = lambda: closed.append(env)
        return env

    with pytest.raises(RuntimeError):
        SerialVector([made, made, lambda: (_ for _ in ()).throw(RuntimeError("no third"))])
    assert len(closed) == 2


def test_an_env_of_an_interactive_session_needs_this_process(monkeypatch):
    main = types.ModuleType("__main__")
    main.Local = type("Local", (), {"__module__": "__main__", "__call__": lambda self: None})
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(EnvError, match=r"interactive session.*env\.processes=false"):
        ProcessVector([main.Local()])


def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import gymnasium as gym, dreamer_envs\n"
        "from dreamer_envs.vector import ProcessVector\n"
        "class Mine: \n"
        "    def __call__(self): return dreamer_envs.make('toy/catch')\n"
        "ProcessVector([Mine()])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-1]
