"""Envs in another Python: the same frames, honest errors, no process left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import venv

import numpy as np
import pytest
from hypothesis import example, given, strategies

import dreamer_envs
from dreamer_envs import state, wire
from dreamer_envs.errors import EnvError, EnvOptionError, MissingPackageError
from dreamer_envs.frames import Frames
from dreamer_envs.vector import ProcessVector

HERE = sys.executable


def test_messages_keep_every_bit():
    message = {
        "image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "parts": [np.float32(0.1), None, True, "text", -(2**100)],
        "empty": np.zeros((0, 3), np.float64),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    back = wire.unpack(wire.pack(message))
    assert back["parts"] == [np.float32(0.1), None, True, "text", -(2**100)]
    assert back["parts"][0].dtype == np.float32
    for name in ("image", "empty", "fortran"):
        assert back[name].dtype == message[name].dtype
        np.testing.assert_array_equal(back[name], message[name])


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1, 2}, np.array(["a"])])
def test_what_cannot_be_said_is_not_sent(value):
    with pytest.raises(TypeError, match="cannot be sent"):
        wire.pack([value])
    assert wire.plain({"x": value, "y": 1}) == {"y": 1}


def test_messages_that_are_none_are_refused():
    with pytest.raises(ValueError, match="array of object"):
        text = b'{"__array__": "|O", "shape": [1]}'
        wire.unpack(struct.pack("!I", len(text)) + text + bytes(8))
    with pytest.raises(ValueError, match="ends before"):
        wire.unpack(struct.pack("!I", 100) + b"{}")
    with pytest.raises(ValueError):
        text = b'{"__array__": "<f8", "shape": [9]}'  # more than follows
        wire.unpack(struct.pack("!I", len(text)) + text + bytes(8))


@given(strategies.binary(max_size=12), strategies.binary(max_size=200))
@example(b'{"__array__": 1, "shape": 2}', b"")
@example(b'{"__array__": "<f8"}', b"")
@example(b"[" * 100_000, b"")
def test_bytes_that_are_no_message_are_refused_as_such(text, more):
    for data in (text, struct.pack("!I", len(text)) + text + more):
        with contextlib.suppress(ValueError):
            wire.unpack(data)


def test_a_message_that_is_too_long_is_not_sent(monkeypatch):
    monkeypatch.setattr(wire, "LARGEST", 100)
    with pytest.raises(ValueError, match="the limit is 100"):
        wire.pack(np.zeros(100, np.uint8))


@pytest.fixture
def catch():
    env = dreamer_envs.make("toy/catch", python=HERE)
    yield env
    env.close()


def test_the_same_episode_here_and_there(catch):
    near = dreamer_envs.make("toy/catch")
    assert catch.observation_space == near.observation_space
    assert catch.action_space == near.action_space and catch.can_save == near.can_save
    pairs = [(catch.reset(seed=3)[0], near.reset(seed=3)[0])]
    for action in (0, 1, 2, 1):
        there, here = catch.step(np.int64(action)), near.step(action)
        assert there[1:4] == here[1:4]
        pairs.append((there[0], here[0]))
    for left, right in pairs:
        assert left.keys() == right.keys()
        for key in left:
            assert left[key].dtype == right[key].dtype
            np.testing.assert_array_equal(left[key], right[key])


def test_states_travel(catch):
    catch.reset(seed=1)
    saved = state.loads(state.dumps(catch.get_state()))
    after = [catch.step(1)[0] for _ in range(3)]
    catch.set_state(saved)
    for obs in after:
        again = catch.step(1)[0]
        assert all(np.array_equal(again[key], obs[key]) for key in obs)


def test_options_and_errors_travel():
    env = dreamer_envs.make("gym/CartPole-v1", python=HERE, max_episode_steps=2)
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(2)] == [False, True]
    env.close()
    with pytest.raises(EnvOptionError, match="no option 'siz'"):
        dreamer_envs.make("pinpad/three", python=HERE, siz=1)
    with pytest.raises(EnvOptionError, match="length is 0 for pinpad/three"):
        dreamer_envs.make("pinpad/three", python=HERE, length=0)
    with pytest.raises(EnvOptionError, match="no program and no virtual environment"):
        dreamer_envs.make("toy/catch", python="/nowhere/python")


def test_a_python_without_gymnasium_is_told(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    with pytest.raises(MissingPackageError, match="No module named.*pip install 'gymnasium"):
        dreamer_envs.make("toy/catch", python=str(tmp_path / "bare"))


def test_a_python_that_dies_is_an_error_of_the_env(catch):
    catch.reset(seed=0)
    os.kill(catch.unwrapped._process.pid, signal.SIGKILL)
    with pytest.raises(EnvError, match="catch in .* is gone: that Python ended with exit code -9"):
        catch.step(1)


def test_an_interrupted_question_leaves_no_late_answer(catch, monkeypatch):
    catch.reset(seed=0)

    def interrupted(link):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(wire, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            catch.step(1)
    with pytest.raises(EnvError, match="it was closed"):
        catch.reset(seed=0)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("MissingPackageError", MissingPackageError),
        ("UnknownOptionError", EnvOptionError),
        ("annotations", EnvError),  # in that module, but no error of it
        ("NoSuchError", EnvError),
    ],
)
def test_errors_keep_their_kind(catch, monkeypatch, kind, expected):
    monkeypatch.setattr(wire, "receive", lambda link: {"error": "text", "kind": kind})
    with pytest.raises(expected, match="catch in .*: text"):
        catch.step(1)
    monkeypatch.undo()


def test_closing_ends_the_other_python(catch):
    process = catch.unwrapped._process
    catch.close()
    assert process.poll() is not None
    with pytest.raises(EnvError, match="it was closed"):
        catch.reset()


def test_no_python_outlives_a_process_that_is_killed():
    code = (
        "import dreamer_envs, time, sys;"
        f"env = dreamer_envs.make('toy/catch', python={HERE!r});"
        "print(env.unwrapped._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([HERE, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not _alive(child):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {child} is still there")


def test_it_outlives_the_thread_that_made_it():
    made = []
    thread = threading.Thread(
        target=lambda: made.append(dreamer_envs.make("toy/catch", python=HERE))
    )
    thread.start()
    thread.join()
    with contextlib.closing(made[0]) as env:
        time.sleep(0.2)  # the signal at the thread's death would be there by now
        env.reset(seed=0)
        assert env.unwrapped._process.poll() is None


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_vectors_of_processes_take_it():
    makers = [dreamer_envs.maker("toy/catch", python=HERE)] * 2
    with ProcessVector(makers, seed=1) as vector:
        first = vector.step([None, None], [True, True])
        assert isinstance(first, Frames) and first.is_first.all()
        assert vector.step([0, 1], [False, False]).present.all()


def test_modules_of_the_current_folder_are_not_taken(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('taken from the current folder')")
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(dreamer_envs.make("toy/catch", python=HERE)) as env:
        assert env.reset(seed=0)[0]


def test_an_answer_that_is_no_message_is_told(monkeypatch):
    with contextlib.closing(dreamer_envs.make("toy/catch", python=HERE)) as env:
        unpack = wire.unpack
        monkeypatch.setattr(wire, "unpack", lambda data: unpack(b"{}"))
        with pytest.raises(EnvError, match="sent what is no message"):
            env.reset(seed=0)
