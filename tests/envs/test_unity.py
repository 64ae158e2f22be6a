"""ML-Agents' own Python package against a stand-in for a Unity program (`unity_peer.py`).

The tests with the package run where it is importable: here, or in the Python that
`DREAMER_MLAGENTS` names; `python -m tests.envs.standins unity` makes one. Unity itself never runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

import dreamer_envs
from dreamer_envs.errors import (
    EnvError,
    EnvIdError,
    EnvOptionError,
    MissingPackageError,
    UnsupportedSpaceError,
)
from dreamer_envs.remote import find_python
from dreamer_envs.spec import SuiteSpec
from dreamer_envs.suites import unity

HERE = sys.executable if importlib.util.find_spec("mlagents_envs") else ""
PYTHON = os.environ.get("DREAMER_MLAGENTS") or HERE
PEER = Path(__file__).with_name("unity_peer.py")

with_mlagents = pytest.mark.skipif(
    not PYTHON, reason="no Python with mlagents_envs: set DREAMER_MLAGENTS (tests/envs/standins.py)"
)


@pytest.fixture
def play(tmp_path):
    """Builds a scene that follows a script, and an env of it."""
    made = []

    def start(options=None, **script):
        (tmp_path / "script.json").write_text(json.dumps(script))
        program = tmp_path / "scene.x86_64"
        python = find_python(PYTHON)
        program.write_text(f'#!/bin/sh\nexec {python} {PEER} {tmp_path}/script.json "$@"\n')
        program.chmod(0o755)
        settings = {"file_name": str(program), "patience": 60, **(options or {})}
        made.append(dreamer_envs.make("unity/Walker", python=PYTHON, **settings))
        return made[-1]

    yield start
    for env in made:
        env.close()


@with_mlagents
def test_an_episode_that_ends_and_one_that_is_cut(play):
    for interrupted in (False, True):
        env = play(continuous=2, length=3, interrupted=interrupted, options={"time_scale": 7.0})
        assert env.action_space == spaces.Box(-1.0, 1.0, (2,), np.float32)
        obs, _ = env.reset()
        assert obs["vector"].tolist() == [0, 0, 7]  # time, seed, speed
        steps = [env.step(np.float32([0.5, 0.25])) for _ in range(3)]
        assert [step[1] for step in steps] == [0.75] * 3
        assert [step[2:4] for step in steps] == [(False, False)] * 2 + [
            (not interrupted, interrupted)
        ]
        # The last frame is that of the episode's end, though the next has begun by then.
        assert [step[0]["vector"][0] for step in steps] == [1, 2, 3]
        assert env.reset()[0]["vector"][0] == 0
        env.close()


@with_mlagents
def test_cameras_choices_and_agents_that_think_for_long(play):
    env = play(
        cameras=[[20, 30, 3], [1, 40, 40]], branches=[3, 4], silent=3, options={"graphics": True}
    )
    assert env.observation_space["image"].shape == (64, 64, 3)
    assert env.observation_space["image1"].shape == (64, 64, 1)
    assert env.action_space == spaces.MultiDiscrete([3, 4])
    env.reset()
    obs, reward, *_ = env.step(np.array([2, 3]))
    assert reward == 5.0
    assert (obs["image"] == 26).all() and (obs["image1"] == 26).all()  # 0.1 of 255, rounded


@with_mlagents
def test_both_kinds_of_actions(play):
    env = play(continuous=1, branches=[5])
    assert set(env.action_space.spaces) == {"continuous", "discrete"}
    env.reset()
    assert env.step({"continuous": np.float32([-0.5]), "discrete": 4})[1] == 3.5


@with_mlagents
def test_a_seed_starts_the_program_anew(play):
    env = play(branches=[2])
    assert env.action_space == spaces.Discrete(2)
    assert env.reset(seed=5)[0]["vector"][1] == 5
    assert env.reset()[0]["vector"][1] == 5


def test_any_seed_starts_a_program_anew_that_has_played(monkeypatch):
    starts = []
    about = SimpleNamespace(
        observation_specs=[SimpleNamespace(shape=(2,))],
        action_spec=SimpleNamespace(continuous_size=1, discrete_branches=()),
    )
    program = SimpleNamespace(reset=lambda: None, close=lambda: None)
    monkeypatch.setattr(unity.Scene, "_start", lambda self: starts.append(self._seed) or program)
    monkeypatch.setattr(unity.Scene, "_only_behavior", lambda self: ("Walker", about))
    monkeypatch.setattr(unity.Scene, "_await", lambda self: ([1], []))
    monkeypatch.setattr(unity.Scene, "_look", lambda self, steps: {})
    scene = unity.Scene("Walker")
    for seed in (0, None, 0, 5, 5):
        scene.reset(seed=seed)
    assert starts == [0, 0, 5, 5]  # the first reset finds the program as it started


@with_mlagents
def test_a_program_that_ends_is_an_error(play):
    env = play(branches=[2], dies_at=2, options={"patience": 20})
    env.reset()
    env.step(0)
    with pytest.raises(EnvError, match="unity/Walker lost its program"):
        env.step(0)


@with_mlagents
def test_scenes_that_do_not_fit_are_refused(play):
    with pytest.raises(UnsupportedSpaceError, match=r"'Walker\?team=0': 3.*one agent"):
        play(agents=3, branches=[2])
    with pytest.raises(EnvOptionError, match="has cameras: set env.graphics=true"):
        play(cameras=[[20, 30, 3]], branches=[2])
    with pytest.raises(EnvError, match="did not start.*nowhere"):
        play(options={"file_name": "/nowhere/scene"})


def test_without_the_package_the_error_tells_how_to_install_it(monkeypatch):
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: not self.module)
    with pytest.raises(MissingPackageError, match="protobuf==3.20.3.*file_name=PATH"):
        dreamer_envs.make("unity/Basic")
    with pytest.raises(EnvOptionError, match="time_scale is 0"):
        unity.Scene("Basic", time_scale=0)


def test_an_id_is_a_name_and_never_a_path():
    assert dreamer_envs.canonical("unity_mlagents/3DBall") == "unity/3DBall"
    for text in ("unity//tmp/program", "unity/./program", "unity/a.exe", "unity/é"):
        with pytest.raises(EnvIdError):
            dreamer_envs.canonical(text)


@pytest.mark.parametrize("shape", [(20, 30, 3), (3, 20, 30), (40, 40, 1), (1, 40, 40)])
def test_pictures_of_old_and_new_releases(shape):
    assert unity._is_camera(SimpleNamespace(shape=shape))
    image = unity._picture(np.full(shape, 0.5, np.float32), 64)
    assert image.shape == (64, 64, unity._channels(shape)) and (image == 128).all()


def test_grids_and_rows_are_no_pictures():
    for shape in ((5,), (4, 3), (20, 20, 6)):
        assert not unity._is_camera(SimpleNamespace(shape=shape))
    with pytest.raises(UnsupportedSpaceError, match="takes no actions"):
        unity._actions("unity/Still", 0, ())
