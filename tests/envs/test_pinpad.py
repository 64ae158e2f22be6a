"""Pin Pad's maps, and its rules where the golden episode of three pads does not reach."""

from __future__ import annotations

import numpy as np
import pytest

import dreamer_envs
from dreamer_envs.errors import EnvOptionError
from dreamer_envs.suites.pinpad import LAYOUTS

STAY, DOWN, UP, RIGHT, LEFT = range(5)

# Of each pad: number of its cells, sum of their columns, sum of their rows; counted from the maps
# of danijar/dreamerv3 @ e3f0224, embodied/envs/pinpad.py.
MAPS = {
    "three": [(16, 40, 40), (16, 120, 168), (16, 200, 40)],
    "four": [(16, 40, 40), (16, 200, 168), (16, 40, 168), (16, 200, 40)],
    "five": [(12, 24, 42), (12, 150, 132), (12, 24, 114), (12, 150, 24), (12, 156, 78)],
    "six": [(9, 18, 18), (9, 117, 99), (8, 12, 52), (9, 18, 99), (9, 117, 18), (8, 108, 52)],
    "seven": [
        *[(8, 15, 15), (8, 105, 89), (8, 12, 52), (8, 105, 15), (8, 108, 52), (8, 15, 89)],
        (8, 60, 92),
    ],
    "eight": [
        *[(8, 15, 15), (8, 105, 89), (8, 12, 52), (8, 105, 15), (8, 108, 52), (8, 15, 89)],
        *[(8, 60, 92), (8, 60, 12)],
    ],
}


def env_at(task, player, sequence=(), **options):
    """An env in which the player stands at a cell, with some pads behind them."""
    env = dreamer_envs.make(f"pinpad/{task}", **options)
    env.reset(seed=0)
    base = env.unwrapped
    base.set_state({"player": player, "sequence": sequence, "steps": 0, "countdown": 0})
    return env, base


@pytest.mark.parametrize("task", MAPS)
def test_maps_are_the_official_ones(task):
    _, base = env_at(task, (1, 1))
    pads = [np.argwhere(base._tiles == pad) for pad in range(1, len(MAPS[task]) + 1)]
    assert [(len(cells), *cells.sum(0)[::-1].tolist()) for cells in pads] == MAPS[task]
    assert dreamer_envs.tasks("pinpad") == sorted(LAYOUTS) == sorted(MAPS)


@pytest.mark.parametrize("task", MAPS)
def test_the_last_pad_in_order_pays_and_is_shown(task):
    last = len(MAPS[task])
    env, base = env_at(task, (1, 1))
    y, x = np.argwhere(base._tiles == last)[0].tolist()
    base.set_state({"player": (x, y), "sequence": list(range(1, last)), "steps": 0, "countdown": 0})
    obs, reward, *ends, _ = env.step(STAY)
    assert reward == 10.0 and ends == [False, False]
    shelf = obs["image"][14 * 4, 1 * 4 :: 2 * 4]  # one pixel of every second cell, from the first
    assert [bool((color != 192).any()) for color in shelf] == [True] * last + [False] * (8 - last)


def test_wrong_order_pays_nothing():
    env, base = env_at("three", (1, 1), [3, 2])
    assert env.step(STAY)[1] == 0.0 and base.sequence == [3, 2, 1]


def test_only_the_last_pads_count_and_none_twice_in_a_row():
    env, base = env_at("three", (1, 1), [3, 1, 2])
    env.step(STAY)
    env.step(DOWN)
    assert base.sequence == [1, 2, 1]


def test_a_wall_stops_and_no_pad_counts():
    env, base = env_at("three", (1, 1))
    for action in (UP, LEFT):
        env.step(action)
        assert base.player == (1, 1) and base.sequence == []


def test_a_reward_is_followed_by_ten_steps_without_and_a_new_start():
    env, base = env_at("three", (11, 1), [1, 2])
    image = env.step(STAY)[0]["image"]
    assert (image[5 * 4, 5 * 4] == (223, 255, 223)).all()  # the floor has turned green
    rest = [env.step(UP)[1] for _ in range(9)]
    assert rest == [0.0] * 9 and base.sequence == [1, 2, 3] and base.player == (11, 1)
    image = env.step(UP)[0]["image"]
    assert base.sequence != [1, 2, 3] and len(base.sequence) <= 1
    assert (image[6 * 4, 5 * 4] != (223, 255, 223)).any()


def test_starts_are_everywhere_but_in_walls():
    env = dreamer_envs.make("pinpad/three")
    env.reset(seed=0)
    starts = set()
    for _ in range(2000):  # 168 cells: each is missed with probability (1 - 1 / 168) ** 2000, 7e-6
        env.reset()
        starts.add(env.unwrapped.player)
    assert starts == {(x, y) for x in range(1, 15) for y in range(1, 13)}


def test_the_length_truncates():
    env = dreamer_envs.make("pinpad/four", length=3)
    env.reset(seed=0)
    assert [env.step(STAY)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]


@pytest.mark.parametrize(
    "options, words", [({"length": 0}, "at least 1"), ({"render_mode": "human"}, "'human'")]
)
def test_options_are_checked(options, words):
    with pytest.raises(EnvOptionError, match=words):
        dreamer_envs.make("pinpad/three", **options)
