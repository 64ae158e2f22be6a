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


def test_an_update_replays_something() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        TrainRatio(32, 0)
