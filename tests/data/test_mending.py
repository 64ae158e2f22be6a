"""Copies of whole segments take the place of lost ones, with a seam before and after."""

import pytest
import torch

from dreamer_plugin.data.mending import mend
from dreamer_plugin.errors import CheckpointError


def stream(env, lengths, start=0):
    rows = {}
    for number, length in enumerate(lengths, start):
        values = 100 * env + 10 * number + torch.arange(length)
        rows[f"{env}/{number}/obs/vector"] = values
        rows[f"{env}/{number}/is_first"] = torch.zeros(length, dtype=torch.bool)
        rows[f"{env}/{number}/deter"] = values + 0.5
    return rows


def without(state, name):
    return {k: v for k, v in state.items() if not k.startswith(f"{name}/") or "deter" in k}


def test_the_nearest_of_the_same_env_stands_in():
    whole = {"segment": 4, **stream(0, [4, 4, 4, 2]), **stream(1, [4, 1])}
    state, changed = mend(without(whole, "0/1"), ["0/1"])
    assert changed == {"0/1", "0/2"}
    assert state["0/1/obs/vector"].tolist() == [0, 1, 2, 3]
    assert state["0/1/deter"].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert state["0/1/is_first"].tolist() == [True, False, False, False]
    assert state["0/2/is_first"].tolist() == [True, False, False, False]
    assert not whole["0/2/is_first"].any()  # the caller's own stay
    assert state.keys() == whole.keys()


def test_the_open_end_is_repeated_with_seams_where_nothing_else_is_left():
    whole = {"segment": 4, **stream(0, [4, 2])}
    state, changed = mend(without(whole, "0/0"), ["0/0"])
    assert state["0/0/obs/vector"].tolist() == [10, 11, 10, 11]
    assert state["0/0/is_first"].tolist() == [True, False, True, False]
    assert changed == {"0/0", "0/1"}


def test_another_env_stands_in_for_a_stream_that_is_all_lost():
    whole = {"segment": 4, **stream(0, [4]), **stream(1, [4], start=2)}
    state, _ = mend(without(whole, "0/0"), ["0/0"])
    assert state["0/0/obs/vector"].tolist() == [120, 121, 122, 123]


def test_nothing_is_made_up_from_nothing():
    whole = {"segment": 4, **stream(0, [4])}
    with pytest.raises(CheckpointError, match="nothing is left"):
        mend(without(whole, "0/0"), ["0/0"])
