"""The line of windows against a list, its only other description."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_plugin.data.windows import STREAM, Windows


@given(
    st.lists(st.integers(0, 2), max_size=80),
    st.integers(1, 5),
    st.integers(1, 12),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=200, deadline=None)
def test_it_is_a_first_in_first_out_list(
    adds: list[int], length: int, capacity: int, online: bool, served: int
) -> None:
    windows, rng = Windows(length, capacity, online), np.random.default_rng(0)
    line: list[int] = []
    queue: list[int] = []
    heads = [0, 0, 0]
    for count, env in enumerate(adds):
        record = heads[env]
        heads[env] += 1
        gone = windows.add(env * STREAM + record)
        dropped = None
        if record >= length - 1:
            if len(line) == capacity:
                dropped = line.pop(0)
            start = env * STREAM + record - length + 1
            line.append(start)
            if online and record % length == 0:
                queue.append(start)
        assert gone == dropped
        assert len(windows) == len(line)
        if line and served and count % served == 0:
            drawn = windows.draw(2, rng).tolist()
            fresh = [start for start in queue if start in line][:2]
            assert drawn[: len(fresh)] == fresh
            assert set(drawn) <= set(line)
            queue = [start for start in queue if start in line and start not in fresh]
    assert windows.state_dict()["line"].tolist() == line


def test_drawing_is_uniform_with_replacement() -> None:
    windows = Windows(2, 8, online=False)
    for record in range(20):
        windows.add(record)
    drawn = windows.draw(8000, np.random.default_rng(0))
    counts = np.unique(drawn, return_counts=True)
    # The last 8 of 19 windows; 1000 each, standard deviation 29.6, five of them.
    assert counts[0].tolist() == list(range(11, 19))
    assert abs(counts[1] - 1000).max() < 148


def test_a_saved_line_goes_on() -> None:
    windows = Windows(3, 7, online=True)
    for record in range(11):
        windows.add(record)
    again = Windows(3, 7, online=True)
    again.load_state_dict(windows.state_dict())
    for record in range(11, 40):
        assert windows.add(record) == again.add(record)
        ours = windows.draw(2, np.random.default_rng(record))
        theirs = again.draw(2, np.random.default_rng(record))
        assert ours.tolist() == theirs.tolist()
