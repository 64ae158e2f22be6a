"""Envs that misbehave on purpose, in a module that worker processes can import."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import time

import gymnasium as gym
import numpy as np
from gymnasium import spaces

import dreamer_envs


class Plain(gym.Env):
    """A Box env nobody registered; it cannot save its state."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float64)
    action_space = spaces.Discrete(4)

    def __init__(self, trouble: str = "") -> None:
        self.trouble = trouble

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2), {}

    def step(self, action):
        if action == 3 and self.trouble == "raise":
            raise ArithmeticError("the pole fell through the floor")
        if action == 3 and self.trouble == "die":
            os._exit(7)
        if action == 3 and self.trouble == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == 3 and self.trouble == "crash":
            faulthandler._sigsegv()
        if action == 3 and self.trouble == "hang":
            time.sleep(1000)
        number = np.nan if action == 3 and self.trouble == "nan" else 0.5
        return np.full(2, number), 1.0, False, False, {}


def plain() -> gym.Env:
    return dreamer_envs.wrap(Plain())


def raising() -> gym.Env:
    return dreamer_envs.wrap(Plain("raise"))


def dying() -> gym.Env:
    return dreamer_envs.wrap(Plain("die"))


def sick() -> gym.Env:
    return dreamer_envs.wrap(Plain("nan"))


class Troubled:
    """Makes an env that fails in the given way at action 3."""

    id = "troubled"

    def __init__(self, trouble: str) -> None:
        self.trouble = trouble

    def __call__(self) -> gym.Env:
        return dreamer_envs.wrap(Plain(self.trouble))


class Stumbling(gym.Env):
    """Observes a class, and raises an error at its 20th step."""

    observation_space = spaces.Discrete(3)
    action_space = spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        self.steps += 1
        if self.steps == 20:
            raise OSError("stumbled")
        return self.steps % 3, 0.0, False, False, {}


def stumbling() -> gym.Env:
    return dreamer_envs.wrap(Stumbling())


def hanging_builder() -> gym.Env:
    time.sleep(1000)


def unbuildable() -> gym.Env:
    raise FileNotFoundError("no ROM called left_shoe")


def asking() -> gym.Env:
    """Needs a variable of the environment."""
    return dreamer_envs.wrap(Plain(os.environ["ASKED_FOR"]))


def unwrapped() -> gym.Env:
    return Plain()


class Imports(gym.Env):
    """Observes whether its process has torch loaded, and says so in its only number."""

    observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        import sys

        marked = getattr(sys.modules["__main__"], "MARK_OF_THE_MAIN_SCRIPT", 0)
        return np.array([float("torch" in sys.modules), float(marked)], np.float32), {}

    def step(self, action):
        return self.reset()[0], 0.0, True, False, {}


def imports() -> gym.Env:
    return dreamer_envs.wrap(Imports())


class Telling(gym.Env):
    """Three steps an episode; every second episode its info says that the task is solved."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, key="is_success"):
        self.key, self.episode, self.count = key, 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        last = self.count == 3
        info = {self.key: np.bool_(last and self.episode % 2 == 0)}
        return np.zeros(2, np.float32), 0.0, False, last, info


def telling():
    return dreamer_envs.wrap(Telling())


class Program(Plain):
    """Starts a program, and another one in its place at each step, as simulators do."""

    program: subprocess.Popen[bytes] | None = None

    def _start(self):
        self.close()
        self.program = subprocess.Popen(["sleep", "1000"])

    def reset(self, *, seed=None, options=None):
        self._start()
        return super().reset(seed=seed)

    def step(self, action):
        self._start()
        return super().step(action)

    def close(self):
        if self.program is not None:
            self.program.terminate()
            self.program.wait()


def starting() -> gym.Env:
    return dreamer_envs.wrap(Program())
