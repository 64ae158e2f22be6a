"""What surrounds Minecraft, where the golden arrays of actions and rewards do not reach."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_envs.errors import EnvOptionError
from dreamer_envs.suites import minecraft_logic as minecraft

NAMES = list(minecraft.ACTIONS)
NOOP, ATTACK, JUMP, UP = map(NAMES.index, ("noop", "attack", "jump", "turn_up"))


def test_a_jump_under_way_is_not_stopped_by_an_attack():
    sticky = minecraft.StickyActions(break_speed=1.0, attack=2, jump=3)
    commands = [sticky(index) for index in (JUMP, ATTACK, NOOP, NOOP, JUMP)]
    assert [c["jump"] for c in commands] == [1, 1, 1, 0, 1]
    assert [c["attack"] for c in commands] == [0, 1, 1, 0, 0]


def test_a_new_episode_holds_nothing_and_looks_ahead():
    sticky = minecraft.StickyActions(break_speed=1.0)
    for index in (JUMP, ATTACK, UP, UP, UP, UP):
        sticky(index)
    assert sticky(UP)["camera"] == (0, 0) and sticky.pitch == -60
    sticky.reset()
    assert sticky(NOOP) == dict(minecraft.NOOP)
    assert sticky(UP)["camera"] == (-15, 0)


def test_ticks_below_zero_are_refused_and_zero_is_off():
    with pytest.raises(EnvOptionError, match="Sticky jump is -1"):
        minecraft.StickyActions(jump=-1)
    sticky = minecraft.StickyActions(jump=0)
    assert [sticky(index)["jump"] for index in (JUMP, NOOP)] == [1, 0]


def held(health=1.0, height=64.0, **counts):
    inventory = {**dict.fromkeys(minecraft.MILESTONES, 0), **counts}
    return minecraft.Situation(inventory, health, height)


def test_what_is_held_at_the_start_pays_nothing():
    rewards = minecraft.Rewards("diamond")
    rewards.reset(held(log=1))
    assert rewards(held()) == 0.0
    assert rewards(held(log=2, stick=3)) == 1.0  # the stick
    assert rewards(held(log=2, health=0.5)) == pytest.approx(-0.005)
    rewards.reset(held())
    assert rewards(held(stick=1)) == 1.0  # a new episode


def test_wood_pays_each_log_and_takes_none_back():
    rewards = minecraft.Rewards("wood")
    rewards.reset(held(log=2))
    paid = [rewards(held(log=logs)) for logs in (2, 5, 0, 1)]
    assert paid == [0.0, 3.0, 0.0, 1.0]
    assert rewards(held(log=2, diamond=1, health=0.0)) == pytest.approx(0.99)


def test_climbing_pays_what_a_fall_takes():
    rewards = minecraft.Rewards("climb")
    rewards.reset(held(height=64.0))
    paid = [rewards(held(height=height)) for height in (65.0, 65.5, 60.0)]
    assert paid == [1.0, 0.5, -5.5]
    assert rewards(held(height=61.0, health=0.9)) == pytest.approx(1 - 0.001)


def test_simple_tasks_have_the_first_actions_of_the_diamond():
    assert list(minecraft.BASIC_ACTIONS) == NAMES[:12]


def test_inventory_merges_both_kinds_of_log_and_keeps_the_most():
    inventory = minecraft.Inventory(["air", "dirt", "log", "log2"])
    assert inventory.items == ("air", "dirt", "log")
    inventory({"air": 0, "dirt": 4, "log": 1, "log2": 2})
    seen = inventory({"air": 0, "dirt": 1, "log": 5, "log2": 0})
    np.testing.assert_array_equal(seen["inventory"], np.float32([0, 1, 5]))
    np.testing.assert_array_equal(seen["inventory_max"], np.float32([0, 4, 5]))
    assert seen["inventory_max"].dtype == np.float32
    inventory.reset()
    seen = inventory({"air": 0, "dirt": 1, "log": 0, "log2": 1})
    np.testing.assert_array_equal(seen["inventory_max"], np.float32([0, 1, 1]))


def test_equipped_is_one_hot():
    np.testing.assert_array_equal(minecraft.equipped("b", ["a", "b", "c"]), np.float32([0, 1, 0]))
    with pytest.raises(ValueError, match="'d' in hand is none of the 3"):
        minecraft.equipped("d", ["a", "b", "c"])


def test_vitals_are_shares_of_full():
    full = minecraft.vitals(20, 20, 300)
    assert full == {"health": 1, "hunger": 1, "breath": 1}
    half = minecraft.vitals(10, 5, 30)
    assert half == {
        "health": np.float32(0.5),
        "hunger": np.float32(0.25),
        "breath": np.float32(0.1),
    }
    assert all(type(value) is np.float32 for value in half.values())
