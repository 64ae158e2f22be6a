"""Train ratio: the official counts, and the long-run rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer_plugin.data.ratio import TrainRatio


def test_golden_cases(golden: Path) -> None:
    paths = list(golden.glob("train_ratio*.npz"))
    assert paths
    for path in paths:
        arrays = np.load(path, allow_pickle=False)
        cases = {key.split("/")[0] for key in arrays.files}
        assert cases
        for case in sorted(cases):
            ratio = TrainRatio(float(arrays[f"{case}/ratio_f64"]), replayed=1)
            counts = [ratio.updates(int(step)) for step in arrays[f"{case}/steps"]]
            assert counts == arrays[f"{case}/repeats"].tolist(), (path.name, case)


@given(st.floats(1, 2048), st.lists(st.integers(1, 64), min_size=1, max_size=60))
def test_updates_keep_the_ratio_and_a_saved_one_goes_on(value: float, jumps: list[int]) -> None:
    ratio, step, total = TrainRatio(value, 1024), 0, 0
    ratio.updates(0)
    for jump in jumps:
        step += jump
        state = ratio.state_dict()
        again = TrainRatio(value, 1024)
        again.load_state_dict(state)
        due = ratio.updates(step)
        assert again.updates(step) == due
        total += due
        # Never more than was earned, and never one whole update behind; 1e-6 is for rounding.
        assert total <= step * value / 1024 + 1e-6
        assert total > step * value / 1024 - 1 - 1e-6


def due(ratio: TrainRatio, steps: list[int]) -> dict[int, int]:
    """Updates due at each step, where there are any."""
    return {step: count for step in steps if (count := ratio.updates(step))}


def test_bursts_by_hand() -> None:
    # DreamerV1 on the control suite: after 2500 agent steps one update that builds its networks
    # and 100, then 100 of 50 x 50 records each in 500 agent steps.
    one = TrainRatio(500, 2500, burst=100, pretrain=100)
    assert due(one, list(range(2500, 4300))) == {2500: 101, 3000: 100, 3500: 100, 4000: 100}
    # Three envs: at 3002, 3502 and 4002, or at the first step after it; lateness does not add up.
    three = TrainRatio(500, 2500, burst=100, pretrain=100)
    expected = {2502: 101, 3003: 100, 3504: 100, 4002: 100}
    assert due(three, list(range(2502, 4300, 3))) == expected
    # Two thirds of an update per step, in groups of two: earned 2 after 3 steps, 4 after 6.
    assert due(TrainRatio(2, 3, burst=2), list(range(10))) == {0: 1, 3: 2, 6: 2, 9: 2}
    # Steps that jump over several groups make them all due, and keep what is no group.
    assert due(TrainRatio(1, 1, burst=4), [0, 11, 12, 15, 16]) == {0: 1, 11: 8, 12: 4, 16: 4}


def test_bursts_are_the_updates_that_single_ones_are() -> None:
    single, burst = TrainRatio(32, 512), TrainRatio(32, 512, burst=10, pretrain=3)
    steps = list(range(7, 5000, 5))
    made = sum(due(single, steps).values()), sum(due(burst, steps).values())
    assert 0 <= made[0] - (made[1] - 3) < 10


def test_pretraining_comes_once_also_after_a_resume() -> None:
    ratio = TrainRatio(1, 10, burst=5, pretrain=7)
    assert not ratio.started and ratio.updates(100) == 8 and ratio.started
    again = TrainRatio(1, 10, burst=5, pretrain=7)
    again.load_state_dict(ratio.state_dict())
    steps = [100, 149, 150, 199, 200]
    assert due(again, steps) == due(ratio, steps) == {150: 5, 200: 5}
    assert due(TrainRatio(0, 10, pretrain=7), steps) == {}
    assert due(TrainRatio(-1, 10, burst=2, pretrain=7), [1, 2]) == {1: 8, 2: 2}


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        TrainRatio(32, 0)
    for burst, pretrain in ((0, 0), (1, -1)):
        with pytest.raises(ValueError, match=f"got {burst}, {pretrain}"):
            TrainRatio(32, 1, burst, pretrain)
