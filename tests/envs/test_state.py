"""Saving in the middle of an episode: the restored env goes on bit for bit."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import dreamer_envs
from dreamer_envs import state
from dreamer_envs.errors import StateError
from dreamer_envs.transforms import NormalizeAction

LIGHT = {
    "CartPole-v1": {},
    "Pendulum-v1": {},
    "Acrobot-v1": {},
    "MountainCar-v0": {},
    "MountainCarContinuous-v0": {"action_repeat": 2},
    "FrozenLake-v1": {},
    "Taxi-v4": {},
    "CliffWalking-v1": {},
    "toy/catch": {},
    "toy/recall": {},
    "toy/reach": {},
    "toy/mixed": {},
    "pinpad/eight": {"length": 50},
}
# Control tasks where an episode changes the model (targets, sizes, joints), reads sensors or starts
# from contacts; the others are variants of these. All 51 were compared once when this was written.
CONTROL = ["walker-walk", "reacher-easy", "finger-turn_hard", "point_mass-hard", "hopper-hop"]
MORE_CONTROL = ["quadruped-escape", "fish-swim", "swimmer-swimmer6", "lqr-lqr_2_1", "dog-fetch"]


def assert_goes_on(env, other, before=30, after=60):
    """Plays, saves, restores into another env, and compares what both do from there."""
    env.action_space.seed(0)
    env.reset(seed=3)
    for _ in range(before):
        if any(env.step(env.action_space.sample())[2:4]):
            env.reset()
    other.set_state(state.loads(state.dumps(env.get_state())))
    for _ in range(after):
        action = env.action_space.sample()
        expected, actual = env.step(action), other.step(action)
        assert expected[1:4] == actual[1:4]
        if any(expected[2:4]):
            expected, actual = env.reset(), other.reset()
        assert expected[0].keys() == actual[0].keys()
        for key, value in expected[0].items():
            np.testing.assert_array_equal(value, actual[0][key])
    env.close()
    other.close()


def test_a_passenger_stays_fickle():
    options = {"fickle_passenger": True, "fickle_probability": 1.0}
    env, other = (dreamer_envs.make("Taxi-v4", **options) for _ in range(2))
    env.reset(seed=3)
    other.set_state(state.loads(state.dumps(env.get_state())))
    assert env.unwrapped.fickle_step and other.unwrapped.fickle_step


@pytest.mark.parametrize("id", LIGHT)
def test_light_envs_go_on(id):
    assert_goes_on(dreamer_envs.make(id, **LIGHT[id]), dreamer_envs.make(id, **LIGHT[id]))


@pytest.mark.parametrize("id", ["atari/Pong", "atari100k/Breakout"])
def test_games_go_on(id):
    pytest.importorskip("ale_py")
    assert_goes_on(dreamer_envs.make(id), dreamer_envs.make(id))


def test_crafter_goes_on():
    pytest.importorskip("crafter")
    env, other = (dreamer_envs.make("crafter/reward", area=24) for _ in range(2))
    assert_goes_on(env, other)


@pytest.mark.parametrize(
    "task", [*CONTROL, *(pytest.param(task, marks=pytest.mark.slow) for task in MORE_CONTROL)]
)
def test_control_tasks_go_on(task):
    pytest.importorskip("dm_control")
    env, other = (dreamer_envs.make(f"dmc/{task}", action_repeat=2) for _ in range(2))
    env.reset(seed=1)  # two resets, so that the saved one is not the first
    assert_goes_on(env, other)


def test_saving_before_the_first_reset():
    env, other = dreamer_envs.make("CartPole-v1"), dreamer_envs.make("CartPole-v1")
    other.set_state(env.get_state())
    np.testing.assert_array_equal(env.reset(seed=2)[0]["vector"], other.reset(seed=2)[0]["vector"])


def test_time_limit_is_part_of_the_state():
    env, other = dreamer_envs.make("Pendulum-v1"), dreamer_envs.make("Pendulum-v1")
    env.reset(seed=0)
    for _ in range(199):
        env.step(np.zeros(1, np.float32))
    other.set_state(env.get_state())
    assert other.step(np.zeros(1, np.float32))[2:4] == (False, True)


def test_saved_state_is_a_copy():
    env = dreamer_envs.make("toy/reach")
    env.reset(seed=0)
    saved = env.get_state()
    before = state.dumps(saved)
    env.step(np.ones(2, np.float32))
    assert state.dumps(saved) == before


def test_json_keeps_every_bit():
    array = np.array([[np.pi, -0.0], [np.inf, 1e-310]])
    kept = state.loads(state.dumps({"a": array, "b": {"c": [1, None, "x"]}, "d": np.float32(0.1)}))
    assert kept["a"].tobytes() == array.tobytes() and kept["a"].shape == (2, 2)
    assert kept["b"] == {"c": [1, None, "x"]}
    assert kept["d"].dtype == np.float32 and kept["d"].shape == () and kept["d"] == np.float32(0.1)
    with pytest.raises(TypeError, match="plain data"):
        state.dumps({"a": object()})


def test_env_with_unknown_state_says_so():
    pytest.importorskip("gymnasium.envs.toy_text.blackjack")
    env = dreamer_envs.make("Blackjack-v1")
    assert not env.can_save
    with pytest.raises(StateError, match="BlackjackEnv cannot save"):
        env.get_state()


def test_wrapper_with_unknown_state_says_so():
    class Mystery(gym.Wrapper):
        pass

    env = dreamer_envs.wrap(Mystery(gym.make("CartPole-v1")))
    assert not env.can_save
    with pytest.raises(StateError, match="Wrapper Mystery cannot save"):
        env.get_state()


def test_state_of_another_env_is_refused():
    env, other = dreamer_envs.make("toy/catch"), dreamer_envs.make("toy/recall")
    env.reset(seed=0)
    with pytest.raises(StateError, match="of a Catch .* not of a Recall"):
        other.set_state(env.get_state())
    bare = NormalizeAction(other.unwrapped)
    with pytest.raises(StateError, match="wrappers"):
        state.set_state(bare, {**state.get_state(bare), "wrappers": []})
