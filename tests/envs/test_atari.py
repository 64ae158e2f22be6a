"""Atari: exact images, frames and actions of the published protocol."""

from __future__ import annotations

import numpy as np
import pytest

import dreamer_envs
from dreamer_envs.errors import EnvOptionError

pytest.importorskip("ale_py")
from dreamer_envs.suites.atari import preprocess  # noqa: E402


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("gray", [True, False])
def test_images_are_the_official_ones(golden, size, gray):
    arrays = golden("atari_preprocessing")
    image = preprocess([arrays["frame_old"], arrays["frame_new"]], size, gray)
    expected = arrays[f"image_{size}_{'gray' if gray else 'rgb'}"]
    np.testing.assert_array_equal(image, expected)
    assert image.dtype == np.uint8 and image.shape == expected.shape


def test_time_limit_counts_as_terminal_in_the_published_protocol(golden):
    arrays = golden("atari_preprocessing")
    expected = bool(arrays["is_terminal_when_last_without_game_over"])
    for name in ("atari/Pong", "atari100k/Pong"):
        assert dreamer_envs.suite_of(name).terminal_on_timeout is expected


def test_protocols():
    full, small = dreamer_envs.make("atari/Pong"), dreamer_envs.make("atari100k/Pong")
    assert full.observation_space["image"].shape == (96, 96, 1) and full.action_space.n == 18
    assert small.observation_space["image"].shape == (64, 64, 3) and small.action_space.n == 6
    assert full.unwrapped._sticky == 0.25 and small.unwrapped._sticky == 0.0
    assert full.action_repeat == small.action_repeat == 4


@pytest.mark.parametrize("game", ["Breakout", "Seaquest", "Enduro"])  # few colours and many
def test_images_show_the_maximum_of_the_last_two_frames(game):
    """Replays an episode frame by frame beside the env, in the emulator's own colours."""
    env = dreamer_envs.make(f"atari100k/{game}", noops=0)
    other = dreamer_envs.make(f"atari100k/{game}", noops=0, action_repeat=1, pool=1).unwrapped
    obs, _ = env.reset(seed=0)
    other.reset(seed=0)
    screen = other._ale.getScreenRGB
    np.testing.assert_array_equal(obs["image"], preprocess([screen()], 64, False))
    rng = np.random.default_rng(0)
    differ = 0
    for _ in range(60):
        action, total, frames = int(rng.integers(4)), 0.0, []
        obs, reward, *_ = env.step(action)
        for _ in range(4):
            total += other.step(action)[1]
            frames.append(screen())
        np.testing.assert_array_equal(obs["image"], preprocess(frames[-2:], 64, False))
        np.testing.assert_array_equal(env.render(), frames[-1])
        assert reward == total
        differ += not np.array_equal(frames[-1], frames[-2])
    assert differ > 5  # otherwise the pool was not seen at work


def test_reset_forgets_the_frames_of_the_last_episode():
    env = dreamer_envs.make("atari100k/Pong", noops=0)
    env.reset(seed=0)
    for _ in range(60):
        env.step(2)
    again = env.reset()[0]["image"]
    np.testing.assert_array_equal(again, preprocess([env.render()], 64, False))


def test_always_sticky_means_nothing_ever_happens():
    """The first held action is 'nothing', so sticky=1 plays as if all actions were 0."""
    sticky = dreamer_envs.make("atari/Breakout", sticky=1.0, noops=0)
    idle = dreamer_envs.make("atari/Breakout", sticky=0.0, noops=0)
    sticky.reset(seed=0)
    idle.reset(seed=0)
    for action in range(18):
        left, right = sticky.step(action), idle.step(0)
        np.testing.assert_array_equal(left[0]["image"], right[0]["image"])


def test_sticky_frames_happen_as_often_as_asked():
    """An alternating action is held with probability 1/4 per frame: 1,000 draws, 5 sigma."""
    env = dreamer_envs.make("atari/Pong", sticky=0.25, action_repeat=1, noops=0).unwrapped
    env.reset(seed=0)
    held = 0
    for i in range(1000):
        before, action = env._held, 1 + i % 17
        env.step(action)
        held += env._held == before != action
    assert abs(held / 1000 - 0.25) < 0.07


def test_noops_are_zero_to_thirty():
    env = dreamer_envs.make("atari100k/Pong").unwrapped
    env.reset(seed=0)
    frames = []
    for _ in range(90):
        env.reset()
        frames.append(env._ale.getEpisodeFrameNumber())
    assert min(frames) == 0 and max(frames) == 30 and len(set(frames)) > 24


def test_length_is_in_frames_and_truncates():
    env = dreamer_envs.make("atari/Pong", length=10)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]
    assert env.unwrapped._time == 10


def test_game_over_terminates():
    env = dreamer_envs.make("atari100k/Breakout")
    env.action_space.seed(0)
    _, info = env.reset(seed=0)
    assert info["lives"] == 5  # losing one of them is not the end
    over = truncated = False
    steps, lives = 0, set()
    while not over and steps < 3000:
        _, _, over, truncated, info = env.step(env.action_space.sample())
        lives.add(info["lives"])
        steps += 1
    assert over and not truncated and lives == {0, 1, 2, 3, 4, 5}


def test_a_lost_life_ends_the_episode_where_asked():
    """As in google-research/dreamer @ d517542f, wrappers.py, `Atari(life_done=True)`."""
    mortal, other = (
        dreamer_envs.make("atari100k/Breakout", lives=lives) for lives in ("reset", "unused")
    )
    mortal.action_space.seed(0)
    for seed in (0, None, None):  # a game that was ended so begins anew, with all lives
        _, info = mortal.reset(seed=seed)
        other.reset(seed=seed)
        assert info["lives"] == 5
        over = False
        while not over:
            action = mortal.action_space.sample()
            _, _, over, truncated, info = mortal.step(action)
            assert not truncated and not other.step(action)[2]
            assert over == (info["lives"] == 4)


def test_rewards_are_not_clipped():
    env = dreamer_envs.make("atari100k/MsPacman")
    env.action_space.seed(0)
    env.reset(seed=0)
    assert max(env.step(env.action_space.sample())[1] for _ in range(150)) >= 10


@pytest.mark.parametrize(
    "options, words",
    [
        ({"sticky": 1.5}, "probability"),
        ({"actions": "some"}, "'some'.*minimal"),
        ({"lives": "discount"}, "'discount'.*reset"),
        ({"noops": -1}, "noops.*at least 0"),
        ({"pool": 0}, "pool.*at least 1"),
        ({"render_mode": "human"}, "'human'"),
    ],
)
def test_options_are_checked(options, words):
    with pytest.raises(EnvOptionError, match=words):
        dreamer_envs.make("atari/Pong", **options)


@pytest.mark.slow
@pytest.mark.parametrize("task", dreamer_envs.tasks("atari"))
def test_every_game_loads_and_runs(task):
    env = dreamer_envs.make(f"atari/{task}")
    env.reset(seed=0)
    assert env.observation_space.contains(env.step(0)[0])
