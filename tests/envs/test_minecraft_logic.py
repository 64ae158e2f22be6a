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


def test_what_is_held_at_the_start_pays_nothing():
    rewards = minecraft.Rewards(["log", "stick"])
    rewards.reset({"log": 1, "stick": 0}, health=1.0)
    assert rewards({"log": 0, "stick": 0}, 1.0) == 0.0
    assert rewards({"log": 2, "stick": 3}, 1.0) == 1.0  # the stick
    assert rewards({"log": 2, "stick": 0}, 0.5) == pytest.approx(-0.005)


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
