"""The toys' scores, as their docstrings state them, and their ends."""

from __future__ import annotations

import numpy as np
import pytest

import dreamer_envs

TOYS = dreamer_envs.tasks("toy")


def play(task, choose, episodes, seed=0):
    """Returns of some episodes; `choose(obs, memory)` gives the action."""
    env = dreamer_envs.make(f"toy/{task}")
    env.action_space.seed(seed)
    returns = []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed if episode == 0 else None)
        total, over, memory = 0.0, False, {}
        while not over:
            action = env.action_space.sample() if choose is None else choose(obs, memory)
            obs, reward, terminated, truncated, _ = env.step(action)
            total += reward
            over = terminated or truncated
        returns.append(total)
    return np.array(returns)


def column(image, color):
    """Column of the cell of a colour; `None` if it is hidden."""
    found = np.flatnonzero((image == color).all(-1).any(0))
    return found[0] // 7 if len(found) else None


def catch(obs, memory):
    ball = column(obs["image"], (255, 255, 0))
    paddle = column(obs["image"], (0, 160, 255))
    return 1 + int(np.sign(ball - paddle))


def recall(obs, memory):
    if obs["vector"][:2].any():
        memory["cue"] = int(obs["vector"][:2].argmax())
    return memory["cue"]


def reach(obs, memory):
    push = (obs["vector"][2:] - obs["vector"][:2]) / 0.2
    return push / max(1.0, np.linalg.norm(push))


def mixed(obs, memory):
    return {"point": obs["position"], "name": obs["symbol"]}


# Perfect play from the docstrings; random means by counting: 2/9 - 1, 1/2, 10 (1/6 + 5/24), and for
# `reach` from 10,000 measured episodes. Margins are four standard errors of the mean.
SCORES = {
    "catch": (catch, 1.0, -7 / 9, 0.63),
    "recall": (recall, 1.0, 0.5, 0.5),
    "reach": (reach, 18.5, -2.08, 6.5),
    "mixed": (mixed, 10.0, 3.75, 1.0),
}


@pytest.mark.parametrize("task", TOYS)
def test_perfect_play(task):
    choose, perfect, _, _ = SCORES[task]
    np.testing.assert_allclose(play(task, choose, 40), perfect, atol=1e-4)


@pytest.mark.parametrize("task", TOYS)
def test_random_play(task):
    _, _, mean, deviation = SCORES[task]
    returns = play(task, None, 600)
    assert abs(returns.mean() - mean) < 4 * deviation / np.sqrt(600)
    assert returns.std() < 1.3 * deviation


def test_recall_without_memory_is_chance():
    returns = play("recall", lambda obs, memory: 0, 400)
    assert abs(returns.mean() - 0.5) < 0.1


def test_recall_shows_the_cue_once_and_asks_eight_steps_later():
    env = dreamer_envs.make("toy/recall")
    obs, _ = env.reset(seed=0)
    shown = [obs["vector"]]
    over = False
    while not over:
        obs, _, over, truncated, _ = env.step(1)
        shown.append(obs["vector"])
        assert not truncated
    cues, asked = np.array(shown)[:, :2], np.array(shown)[:, 2]
    assert cues[0].sum() == 1 and cues[1:].sum() == 0
    assert np.flatnonzero(asked).tolist() == [8] and len(shown) == 10


def test_catch_is_small_and_ends_by_itself():
    env = dreamer_envs.make("toy/catch", render_mode="rgb_array")
    obs, _ = env.reset(seed=1)
    assert obs["image"].shape == (64, 64, 3)
    rewards = []
    over = False
    while not over:
        obs, reward, over, truncated, _ = env.step(0)
        rewards.append(reward)
        assert not truncated
    assert len(rewards) == 8 and rewards[:-1] == [0.0] * 7 and abs(rewards[-1]) == 1.0
    np.testing.assert_array_equal(env.render(), obs["image"])


def test_balls_fall_in_all_nine_columns():
    env = dreamer_envs.make("toy/catch")
    env.reset(seed=0)
    balls = {int(column(env.reset()[0]["image"], (255, 255, 0))) for _ in range(200)}
    assert balls == set(range(9))


@pytest.mark.parametrize("task, steps", [("reach", 20), ("mixed", 10)])
def test_time_limits_truncate(task, steps):
    env = dreamer_envs.make(f"toy/{task}")
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(steps)]
    assert ends == [(False, False)] * (steps - 1) + [(False, True)]


def test_reach_moves_no_faster_along_diagonals():
    env = dreamer_envs.make("toy/reach")
    env.reset(seed=0)
    obs = env.step(np.array([1.0, 1.0], np.float32))[0]
    assert np.linalg.norm(obs["vector"][:2]) == pytest.approx(0.2, abs=1e-6)
