"""What an env hands over is checked against its spaces: the error names key, value and remedy."""

from __future__ import annotations

import re
import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import dreamer_envs
from dreamer_envs import wrap
from dreamer_envs.errors import EnvError, FrameError, UnsupportedSpaceError
from dreamer_envs.vector import ProcessVector, SerialVector

U8 = np.uint8
VECTOR = spaces.Box(-1, 1, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (32, 32, 3), U8)


class Shows(gym.Env):
    """Shows one observation at resets, another later, and pays one reward."""

    action_space = spaces.Discrete(2)

    def __init__(self, space, first, later=None, reward=1.0):
        self.observation_space = space
        self.first, self.later, self.reward = first, first if later is None else later, reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.first, {}

    def step(self, action):
        return self.later, self.reward, False, False, {}


WRONG = {
    "nan": (VECTOR, np.array([0, np.nan], np.float32), "'vector' holds nan: every number must be"),
    "infs whose sum is nan": (VECTOR, np.float32([np.inf, -np.inf]), "'vector' holds inf"),
    "one nan of many": (
        spaces.Box(-9, 9, (999,)),
        np.where(np.arange(999) == 500, np.float32(np.nan), np.float32(1)),
        "'vector' holds nan",
    ),
    "inf": (VECTOR, np.array([0, -np.inf]), "'vector' holds -inf"),
    "too large for float32": (VECTOR, np.array([0, 1e39]), "'vector' holds 1e+39: "),
    "too few": (VECTOR, np.zeros(1), "'vector' has shape (1,), its space (2,)"),
    "an axis more": (VECTOR, np.zeros((2, 1)), "'vector' has shape (2, 1), its space (2,)"),
    "ragged": (VECTOR, [[1.0], [1.0, 2.0]], "'vector' is no array"),
    "words": (VECTOR, np.array(["1", "2"]), "'vector' is <U1, not numbers"),
    "nothing": (spaces.Box(-1, 1, ()), None, "'vector' is object, not numbers"),
    "bits": (spaces.MultiBinary(3), np.array([0, 1, np.nan]), "'vector' holds nan"),
    "float image": (IMAGE, np.zeros((32, 32, 3)), "'image' is float64, its space uint8"),
    "image of another size": (IMAGE, np.zeros((64, 64, 3), U8), "'image' has shape (64, 64, 3)"),
    "channels first": (
        spaces.Box(0, 255, (3, 32, 32), U8),
        np.zeros((32, 32, 3), U8),
        "'image' has shape (32, 32, 3), its space (3, 32, 32)",
    ),
    "class": (spaces.Discrete(5), 5, "'discrete' holds 5, its space has 5 values from 0"),
    "class below": (spaces.Discrete(5, start=2), 1, "'discrete' holds 1, its space has 5 values f"),
    "half": (spaces.Discrete(5), 0.5, "'discrete' is float64, not integers"),
    "classes": (spaces.MultiDiscrete([2, 5]), [1, 7], "'discrete' holds 7, its space has 5 values"),
    "named": (
        spaces.Dict(arm=spaces.Dict(angle=VECTOR), goal=VECTOR),
        {"arm": {"angle": np.full(2, np.inf)}, "goal": np.zeros(2)},
        "'arm/angle' holds inf",
    ),
    "missing": (spaces.Dict(arm=VECTOR, goal=VECTOR), {"arm": np.zeros(2)}, "lacks 'goal'"),
    "short tuple": (spaces.Tuple([VECTOR, VECTOR]), (np.zeros(2),), "lacks '1'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_frame_that_does_not_fit_is_refused(case):
    space, shown, words = WRONG[case]
    with pytest.raises(FrameError, match=re.escape(words)):
        wrap(Shows(space, shown)).reset()
    fine = space.sample()
    env = wrap(Shows(space, fine, later=shown if shown is not None else "no number"))
    env.reset()
    with pytest.raises(FrameError):
        env.step(0)


def test_what_fits_float32_passes():
    largest = float(np.finfo(np.float32).max)
    env = wrap(Shows(VECTOR, np.array([largest, -largest]), reward=-largest))
    assert env.reset()[0]["vector"].tolist() == [largest, -largest]
    assert env.step(0)[1] == -largest
    # Other number types and values outside of the declared bounds are the env's own business.
    assert wrap(Shows(VECTOR, [7, -3])).reset()[0]["vector"].tolist() == [7, -3]
    assert wrap(Shows(spaces.Discrete(5, start=-2), np.array(2))).reset()[0]["discrete"] == 4


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (np.nan, "the reward is nan: it must be finite; scale or clip it in the env"),
        (-np.inf, "the reward is -inf: it must be finite"),
        (1e39, "the reward is 1e+39: float32 ends at 3.4e+38"),
        (None, "the reward is None, not a number"),
    ],
)
def test_a_reward_that_cannot_be_learned_is_refused(reward, words):
    env = wrap(Shows(VECTOR, np.zeros(2), reward=reward))
    env.reset()
    with pytest.raises(FrameError, match=re.escape(words)):
        env.step(0)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Box(0, np.inf, (1,)), "bounds 0.0 and inf: .* give the Box finite bounds"),
        (spaces.Box(-3e38, 3e38, (1,)), r"bounds -\S+e\+38 and \S+e\+38: .* useful size"),
        (spaces.Box(-1e300, 1e300, (1,), np.float64), r"bounds -1e\+300 and 1e\+300"),
        (spaces.Box(-np.inf, 0.5, (1,)), "bounds -inf and 0.5"),
        (spaces.Dict(go=spaces.Box(np.float32([-1, 2]), np.float32([1, np.inf]))), "action/go"),
    ],
    ids=str,
)
def test_actions_that_would_leave_their_space_are_refused(space, words):
    env = Shows(VECTOR, np.zeros(2))
    env.action_space = space
    with pytest.raises(UnsupportedSpaceError, match=words):
        wrap(env)


def test_two_observations_of_one_name_are_refused():
    space = spaces.Dict({"a/b": VECTOR, "a": spaces.Dict(b=VECTOR)})
    with pytest.raises(UnsupportedSpaceError, match="one name in .*a/b"):
        wrap(Shows(space, None))


@pytest.mark.parametrize("vector", [SerialVector, ProcessVector])
def test_the_error_names_the_env_and_is_one_line(vector, odd_envs):
    with vector([odd_envs.plain, odd_envs.sick], seed=0) as envs:
        envs.step([None, None], [True, True])
        envs.step([0, 0], [False, False])
        with pytest.raises(EnvError) as error:
            envs.step([3, 3], [False, False])
    assert str(error.value) == (
        "Env 1 (sick) failed: observation 'vector' holds nan: every number must be finite and fit "
        "float32; repair or clip it in the env"
    )


def test_pixels_are_not_looked_at():
    """Time does not grow with the image; 1000 x 1000 x 3 pixels take 1 ms to read."""
    shape = (1000, 1000, 3)
    env = wrap(Shows(spaces.Box(0, 255, shape, U8), np.zeros(shape, U8)))
    env.reset()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        env.step(0)
        times.append(time.perf_counter() - start)
    assert min(times) < 3e-4  # 1e-6 measured


def test_a_repaired_env_can_go_on():
    env = Shows(VECTOR, np.array([np.nan, 0]))
    wrapped = dreamer_envs.wrap(env)
    with pytest.raises(FrameError):
        wrapped.reset()
    env.first = np.zeros(2)
    assert wrapped.reset()[0]["vector"].tolist() == [0, 0]
