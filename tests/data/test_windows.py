"""The line of windows against a list, its only other description."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_plugin.data import windows as module
from dreamer_plugin.data.windows import STREAM, Windows, line_bytes


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
    windows, rng = Windows(length, capacity, online, 3), np.random.default_rng(0)
    line: list[int] = []
    queue: list[int] = []
    heads = [0, 0, 0]
    for count, env in enumerate(adds):
        record = heads[env]
        heads[env] += 1
        gone = windows.add(env * STREAM + record, 0)
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


def test_a_long_line_of_many_blocks_is_that_list_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 1)  # so 64 windows for each of 5 envs in a block
    length, capacity, rng = 3, 700, np.random.default_rng(0)
    windows = Windows(length, capacity, False, 5)
    line: list[int] = []
    heads = [0] * 5
    for count in range(4000):
        # Bursts of one env, as files are filled, beside envs in step.
        env = count % 5 if count % 1000 < 500 else count // 1000
        windows.add(env * STREAM + heads[env], 0)
        heads[env] += 1
        if heads[env] >= length:
            line = [*line, env * STREAM + heads[env] - length][-capacity:]
        if count == 2600:
            saved = windows.state_dict()
            windows = Windows(length, capacity, False, 5)
            windows.load_state_dict(saved)
        if line and count % 40 == 0:
            assert windows.state_dict()["line"].tolist() == line
            seed = int(rng.integers(99))
            # Each draw is one number from the generator, counted from the first in the line.
            gone = windows._gone
            numbers = np.random.default_rng(seed).integers(gone, gone + len(line), 9) - gone
            drawn = windows.draw(9, np.random.default_rng(seed)).tolist()
            assert drawn == [line[number] for number in numbers]
    assert len(windows._line) == 700 // 320 + 2


def test_the_line_takes_about_a_byte_per_window() -> None:
    # A byte and an eighth for 1M windows of 16 envs; two for more than 256 envs.
    assert line_bytes(10**6, 16) / 10**6 < 1.13
    assert 2.1 < line_bytes(10**6, 300) / 10**6 < 2.25
    windows = Windows(65, 10**4, True, 16)
    assert windows._line.nbytes + windows._marks.nbytes == line_bytes(10**4, 16)


def test_drawing_is_uniform_with_replacement() -> None:
    windows = Windows(2, 8, online=False, num_envs=1)
    for record in range(20):
        windows.add(record, 0)
    drawn = windows.draw(8000, np.random.default_rng(0))
    counts = np.unique(drawn, return_counts=True)
    # The last 8 of 19 windows; 1000 each, standard deviation 29.6, five of them.
    assert counts[0].tolist() == list(range(11, 19))
    assert abs(counts[1] - 1000).max() < 148


def test_a_saved_line_goes_on() -> None:
    windows = Windows(3, 7, online=True, num_envs=1)
    for record in range(11):
        windows.add(record, 0)
    again = Windows(3, 7, online=True, num_envs=1)
    again.load_state_dict(windows.state_dict())
    for record in range(11, 40):
        assert windows.add(record, 0) == again.add(record, 0)
        ours = windows.draw(2, np.random.default_rng(record))
        theirs = again.draw(2, np.random.default_rng(record))
        assert ours.tolist() == theirs.tolist()
