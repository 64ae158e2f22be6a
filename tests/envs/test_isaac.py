"""Isaac Lab around stand-ins for its modules (`isaac_peer.py`); it never runs itself."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import dreamer_envs
from dreamer_envs.errors import EnvIdError, EnvOptionError, MissingPackageError
from dreamer_envs.spec import SuiteSpec
from dreamer_envs.suites import isaac
from tests.envs import isaac_peer
from tests.envs.isaac_peer import ID


@pytest.fixture
def lab(monkeypatch):
    """Isaac Lab's modules; tells what was asked of them."""
    asked = SimpleNamespace(launched=[], parsed=[], cut=False)
    for name, module in isaac_peer.modules(asked).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: True)
    monkeypatch.setattr(isaac, "SIMULATORS", [])
    monkeypatch.setitem(gym.registry, ID, None)  # and gone again after the test
    del gym.registry[ID]
    isaac_peer.register()
    return asked


@pytest.mark.parametrize("cut", [False, True])
def test_episodes_are_kept_apart(lab, cut):
    lab.cut = cut
    env = dreamer_envs.make(f"isaac/{ID}", device="cpu")
    assert env.action_space == spaces.Box(-1.0, 1.0, (1,), np.float32)
    obs, _ = env.reset(seed=4)
    assert obs["policy"].tolist() == [0, 0] and obs["policy"].dtype == np.float32
    assert obs["sight/rgb"].shape == (20, 20, 3)
    steps = [env.step(np.float32([0.25])) for _ in range(3)]
    assert [step[1] for step in steps] == [0.5] * 3
    assert [step[2:4] for step in steps] == [(False, False)] * 2 + [(not cut, cut)]
    assert [step[0]["policy"][0] for step in steps] == [1, 2, 2]  # the last frame is never seen
    assert env.reset()[0]["policy"][0] == 10  # it has begun already
    assert env.step(np.float32([0]))[0]["policy"][0] == 11
    assert env.reset(seed=4)[0]["policy"][0] == 0  # a seed begins anew
    assert env.unwrapped._env.unwrapped.seeds == [4, 4]


def test_what_isaac_is_asked_for(lab):
    env = dreamer_envs.make("isaac/Standin-v0", device="cpu", render_mode="rgb_array")
    dreamer_envs.make(f"isaac/{ID}", device="cpu")  # the simulator runs already
    assert lab.launched == [{"headless": True, "device": "cpu", "enable_cameras": True}]
    assert lab.parsed == [(ID, "cpu", 1)] * 2
    env.reset()
    assert env.render().shape == (8, 8, 3)


def test_names_of_tasks(lab):
    assert dreamer_envs.canonical("isaaclab/Cartpole-v0") == "isaac/Isaac-Cartpole-v0"
    with pytest.raises(EnvIdError):
        dreamer_envs.canonical("isaac/Cartpole")
    with pytest.raises(EnvOptionError, match="none of Isaac Lab's"):
        dreamer_envs.make("isaac/Nobody-v0", device="cpu")


def test_without_isaac_the_error_tells_how_to_install_it(monkeypatch):
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: not self.module)
    with pytest.raises(MissingPackageError, match="RTX GPU.*python=PATH"):
        dreamer_envs.make("isaac/Isaac-Ant-v0")
