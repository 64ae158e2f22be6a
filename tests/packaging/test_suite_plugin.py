"""A suite that another package ships: installed with pip, listed, examined and trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "walled"
version = "1.2"
[project.entry-points."dreamer_envs.suites"]
walled = "walled:SUITE"
[tool.setuptools]
py-modules = ["walled"]
"""
# Twenty lines that a user writes: an env, and what it is called.
MODULE = """
import gymnasium as gym
import numpy as np
from dreamer_envs import SuiteSpec

class Corridor(gym.Env):
    observation_space = gym.spaces.Box(-9, 9, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    def __init__(self, task, length=5):
        self.length = length
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return np.float32([self.place]), {}
    def step(self, action):
        self.place += 2 * int(action) - 1
        home = self.place >= 3
        return np.float32([self.place]), float(home), home, abs(self.place) >= self.length, {}

SUITE = SuiteSpec("walled", "a corridor", "walled:Corridor", ("corridor",), "walled", "walled")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs the command line where the package is installed."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("walled", "site"))
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "walled.py").write_text(MODULE)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(target), str(source)], check=True)
    path = os.pathsep.join(filter(None, (str(target), *sys.path)))

    def run(*words):
        command = [sys.executable, "-m", "dreamer_plugin", *map(str, words)]
        env = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)

    return run


def test_it_is_listed_with_its_options(installed):
    suites = {suite["name"]: suite for suite in json.loads(installed("envs", "--json").stdout)}
    assert suites["walled"]["installed"] and suites["walled"]["version"] == "1.2"
    assert suites["walled"]["tested"] == ""
    told = installed("envs", "walled").stdout
    assert "env.length=5" in told and "walled/corridor" in told


def test_it_is_examined(installed):
    done = installed("check-env", "walled/corridor", "--steps", 50, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {finding["check"] for finding in json.loads(done.stdout)["findings"]} > {"ends", "SB3"}
    wrong = installed("check-env", "walled/coridor")
    assert wrong.returncode == 2 and "'walled/corridor'" in wrong.stderr


def test_it_is_trained(installed, repo, tmp_path):
    words = ["train", "--env", "walled/corridor", "--steps", 60, "--logdir", tmp_path / "run"]
    done = installed(*words, "--config", repo / "tests" / "run" / "tiny.yaml", "env.length=4")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "walled/corridor" in (tmp_path / "run" / "config.yaml").read_text()
