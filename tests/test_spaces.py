"""Spaces: what is read from Gymnasium, and the round trip of actions."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces as gs
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces

VECTOR = gs.Dict({"x": gs.Box(-1, 1, (3,), np.float32)})


def leaf_spaces() -> st.SearchStrategy[gym.Space]:
    """Every kind of action entry that is supported, small."""
    sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3)
    shapes = st.sampled_from([(), (1,), (3,), (2, 2)])
    return st.one_of(
        st.builds(gs.Discrete, st.integers(2, 5), start=st.integers(-2, 3)),
        sizes.map(gs.MultiDiscrete),
        sizes.map(lambda n: gs.MultiDiscrete(n, start=[2] * len(n))),
        st.just(gs.MultiDiscrete([[2, 3], [4, 5]])),
        st.integers(1, 4).map(gs.MultiBinary),
        shapes.map(lambda s: gs.Box(-2, 2, s, np.float32)),
    )


ACTIONS = st.one_of(
    leaf_spaces(),
    st.dictionaries(st.sampled_from(["b", "a", "zz", "action"]), leaf_spaces(), min_size=1).map(
        gs.Dict
    ),
)


def same(a: object, b: object) -> bool:
    """Equal native actions, dictionaries entry by entry."""
    if isinstance(a, dict):
        assert isinstance(b, dict)
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return np.asarray(a).shape == np.asarray(b).shape and bool(
        np.all(np.asarray(a) == np.asarray(b))
    )


def test_an_observation_without_numbers_is_refused() -> None:
    space = gs.Dict({"x": gs.Box(-1, 1, (3,)), "none": gs.Box(-1, 1, (2, 0))})
    with pytest.raises(UsageError, match="'none' is Box.* holds no number; leave it out"):
        Spaces.from_gym(space, gs.Discrete(2))


@given(ACTIONS, st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_decoding_an_encoded_action_gives_it_back(space: gym.Space, seed: int) -> None:
    space.seed(seed)
    spaces = Spaces.from_gym(VECTOR, space)
    action = space.sample()
    vector = spaces.encode_action(action)
    assert vector.shape == (spaces.action_size,) and vector.dtype == np.float32
    decoded = spaces.decode_action(vector)
    assert same(action, decoded)
    assert space.contains(decoded)


@given(ACTIONS)
@settings(max_examples=30, deadline=None)
def test_spaces_survive_json(space: gym.Space) -> None:
    spaces = Spaces.from_gym(VECTOR, space)
    assert Spaces.from_dict(json.loads(json.dumps(spaces.to_dict()))) == spaces


def test_a_batch_is_encoded_row_by_row() -> None:
    spaces = Spaces.from_gym(VECTOR, gs.MultiDiscrete([2, 3]))
    rows = np.array([[0, 2], [1, 0]])
    expected = np.array([[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]], np.float32)  # by hand
    np.testing.assert_array_equal(spaces.encode_action(rows), expected)


def test_unequal_dimensions_stay_in_order_beyond_ten() -> None:
    sizes = [2, 3] * 6
    spaces = Spaces.from_gym(VECTOR, gs.MultiDiscrete(sizes))
    assert [key.classes for key in spaces.actions] == sizes
    assert spaces.actions[2] == ActionKey("action/02", "discrete", (), 2)


def test_dict_keys_are_sorted_and_observations_are_not() -> None:
    obs = gs.Dict([("z", gs.Box(0, 255, (4, 4, 3), np.uint8)), ("a", gs.Discrete(7))])
    action = gs.Dict([("q", gs.Box(-1, 1, (2,), np.float32)), ("b", gs.Discrete(3))])
    spaces = Spaces.from_gym(obs, action)
    assert spaces.obs == (ObsKey("z", "image", (4, 4, 3)), ObsKey("a", "discrete", (), 7))
    assert [key.name for key in spaces.actions] == ["b", "q"]
    vector = spaces.encode_action({"b": 1, "q": np.array([5.0, -6.0])})
    np.testing.assert_array_equal(vector, np.float32([0, 1, 0, 5, -6]))  # raw, not clipped
    decoded = spaces.decode_action(vector)
    assert decoded["b"] == 1 and isinstance(decoded["b"], np.int64)
    assert decoded["q"].dtype == np.float32


@pytest.mark.parametrize(
    ("obs", "action", "words"),
    [
        (gs.Box(-1, 1, (3,)), gs.Discrete(2), "dreamer_envs.wrap"),
        (gs.Dict({}), gs.Discrete(2), "at least one key"),
        (gs.Dict({"text": gs.Text(4)}), gs.Discrete(2), "'text'"),
        (gs.Dict({"ram": gs.Box(0, 255, (128,), np.uint8)}), gs.Discrete(2), "'ram'"),
        (gs.Dict({"d": gs.Discrete(3, start=1)}), gs.Discrete(2), "count from 0"),
        (gs.Dict({"in": gs.Dict({"x": gs.Discrete(2)})}), gs.Discrete(2), "'in'"),
        (VECTOR, gs.Dict({}), "nothing to decide"),
        (VECTOR, gs.Box(0, 9, (2,), np.int64), "MultiDiscrete"),
        (VECTOR, gs.Dict({"deep": gs.Dict({"x": gs.Discrete(2)})}), "'deep'"),
        (VECTOR, gs.Tuple([gs.Discrete(2)]), "Tuple"),
    ],
)
def test_what_cannot_be_read_is_named(obs: gym.Space, action: gym.Space, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Spaces.from_gym(obs, action)


@pytest.mark.parametrize(
    ("space", "action", "told"),
    [
        (gs.Discrete(3), 1.7, r"whole numbers from 0 on; got \[1\.7\]"),
        (gs.Discrete(3), float("nan"), r"got \[nan\]"),
        (gs.Discrete(3, start=5), 4, r"from 5 on; got \[4\]"),
        (gs.Dict({"x": gs.Discrete(2), "y": gs.Discrete(2)}), {"x": 1}, r"lacks 'y'; it has \['x'"),
        (
            gs.Dict({"x": gs.Discrete(2), "y": gs.Discrete(2)}),
            {"x": [0, 1], "y": 1},
            "the same leading axes",
        ),
    ],
)
def test_actions_that_do_not_fit_are_named(space: gym.Space, action: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Spaces.from_gym(VECTOR, space).encode_action(action)


def test_wrong_actions_are_named() -> None:
    spaces = Spaces.from_gym(VECTOR, gs.Discrete(3))
    with pytest.raises(UsageError, match="3 classes"):
        spaces.encode_action(3)
    with pytest.raises(UsageError, match=r"shape \(3,\)"):
        spaces.decode_action(np.zeros(4, np.float32))
    box = Spaces.from_gym(VECTOR, gs.Box(-1, 1, (2,), np.float32))
    with pytest.raises(UsageError, match=r"\(2,\)"):
        box.encode_action(np.zeros(3))
    with pytest.raises(UsageError, match="from_gym"):
        Spaces(spaces.obs, spaces.actions).decode_action(np.zeros(3, np.float32))
