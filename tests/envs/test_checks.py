"""Our examination of envs finds what was planted, and nothing where nothing is wrong."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import dreamer_envs
from dreamer_envs.checks import examine


class Clean(gym.Env):
    """A number that walks at random, ends at 3 or after ten steps."""

    observation_space = spaces.Box(-20, 20, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = self.np_random.normal(), 0
        return self._obs(), {}

    def step(self, action):
        self.place += 2.0 * action - 1 + 0.1 * self.np_random.normal()
        self.time += 1
        over = abs(self.place) > 3
        return self._obs(), float(over), over, self.time == 10 and not over, {}

    def _obs(self):
        return np.array([self.place], np.float32)


class BothFlags(Clean):
    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated or truncated, terminated or truncated, info


class LimitAsEnd(Clean):
    def step(self, action):
        obs, reward, _, _, info = super().step(action)
        return obs, reward, self.time == 10, False, info


class OtherDice(Clean):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._np_random = np.random.default_rng()
        return self._obs(), {}


class Outside(Clean):
    observation_space = spaces.Box(-0.001, 0.001, (1,), np.float32)


class Still(Clean):
    def _obs(self):
        return np.zeros(1, np.float32)


class Survives(Clean):
    """Pays 1 for each step until it falls, as CartPole."""

    def step(self, action):
        obs, _, over, _, info = super().step(action)
        return obs, 1.0, over, False, info


class Judged(Clean):
    """Ends after ten steps with a verdict, as a ball that was caught or not."""

    def step(self, action):
        obs, _, _, _, info = super().step(action)
        over = self.time == 10
        return obs, float(over) * (1 if self.place > 0 else -1), over, False, info


class Fails(Clean):
    def step(self, action):
        raise ZeroDivisionError("no mass")


class Unseeded(Clean):
    def reset(self):
        return super().reset()


class WithoutKey(Clean):
    observation_space = spaces.Dict(a=Clean.observation_space)

    def _obs(self):
        return {"b": super()._obs()}


class OneBuffer(Clean):
    """Starts alike each time, and hands out one image, which shows the time."""

    observation_space = spaces.Box(0, 255, (16, 16, 3), np.uint8)

    def __init__(self):
        self.image = np.zeros((16, 16, 3), np.uint8)

    def _obs(self):
        self.image[:] = self.time
        return self.image


def grades(kind, steps=200):
    report = examine(lambda: dreamer_envs.wrap(kind()), steps)
    return {finding.check: finding for finding in report.findings}


def test_a_clean_env_has_no_findings():
    found = grades(Clean)
    assert {finding.grade for finding in found.values()} == {"ok"}
    assert set(found) == {"frames", "ends", "rewards", "variety", "speed", "seeds", "other seed"}


def test_how_far_it_is_can_be_heard():
    told = []
    examine(lambda: dreamer_envs.wrap(Clean()), 3, tell=lambda *words: told.append(words))
    assert told == [("random steps", done, 3) for done in (0, 1, 2, 3)]


@pytest.mark.parametrize(
    "kind, check, grade, words",
    [
        (BothFlags, "ends", "fault", "terminated and truncated at once"),
        (LimitAsEnd, "ends", "note", "terminated after exactly 10 steps"),
        (OtherDice, "seeds", "note", "differ from step 1"),
        (Outside, "frames", "fault", "'vector' holds values from"),
        (Fails, "frames", "fault", "ZeroDivisionError: no mass (" + __file__),
        (Unseeded, "frames", "fault", "unexpected keyword argument 'seed'"),
        (WithoutKey, "frames", "fault", "lacks 'a'"),
        (Still, "variety", "note", "never changed: vector"),
        (Still, "other seed", "note", "the same frame"),
        (OneBuffer, "other seed", "note", "the same frame"),
    ],
)
def test_what_is_planted_is_found(kind, check, grade, words):
    finding = grades(kind)[check]
    assert finding.grade == grade and words in finding.says and finding.fix


@pytest.mark.parametrize(
    "kind, check, words",
    [
        (Survives, "rewards", "the length of an episode"),
        (Judged, "ends", "20 episodes: 20 ended by"),
    ],
)
def test_usual_tasks_raise_no_alarm(kind, check, words):
    finding = grades(kind)[check]
    assert finding.grade == "ok" and words in finding.says


def test_the_first_picture_of_one_buffer_is_the_one_that_was_shown():
    class Counts(OneBuffer):
        shown = 0

        def _obs(self):
            self.shown += 1
            self.image[:] = self.shown
            return self.image

    report = examine(lambda: dreamer_envs.wrap(Counts()), steps=20)
    assert [image.max() for image in report.pictures["image"]][:2] == [1, 2]


def test_pictures_of_the_first_frames():
    report = examine(dreamer_envs.maker("pinpad/three"), steps=20)
    (images,) = report.pictures.values()
    assert list(report.pictures) == ["image"] and len(images) == 8
    assert all(image.shape == (64, 64, 3) for image in images)
    assert report.steps_per_s > 0 and report.faults == []
