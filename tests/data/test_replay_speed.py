"""Sampling costs little more than copying the same windows as contiguous NumPy slices."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from dreamer_plugin.data.replay import RecordReplay, make_replay
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces
from dreamer_plugin.study.bench_replay import contiguous_slices

SPACES = Spaces(
    (ObsKey("image", "image", (64, 64, 3)),), (ActionKey("action", "discrete", (), 18),)
)
BATCH, LENGTH = 16, 64


def filled(frames: int, folder: Path | None = None) -> RecordReplay:
    """A replay that has turned over once, so that its memory has been touched."""
    count = 4
    rb = make_replay(
        SPACES, count, frames, BATCH, LENGTH, deter=512, stoch_shape=(32,), folder=folder
    )
    image = torch.randint(0, 255, (count, 64, 64, 3), dtype=torch.uint8)
    record = TensorDict(
        {
            "obs": TensorDict({"image": image}, batch_size=[count]),
            "action": torch.zeros(count, 18),
            "reward": torch.zeros(count),
            "is_first": torch.zeros(count, dtype=torch.bool),
            "is_last": torch.zeros(count, dtype=torch.bool),
            "is_terminal": torch.zeros(count, dtype=torch.bool),
            "deter": torch.zeros(count, 512),
            "stoch": torch.zeros(count, 32, dtype=torch.uint8),
        },
        batch_size=[count],
    )
    for _ in range(frames // count + LENGTH):
        rb.extend(record)
    return rb


def ratio(frames: int, rounds: int) -> float:
    """Median over rounds of the time of a sample against that of the slices, taken in turns."""
    rb = filled(frames)
    draw = contiguous_slices(rb.storage.fields, frames, BATCH, LENGTH + 1)
    return compare(rb.sample, draw, rounds)


def disk_ratio(frames: int, rounds: int, folder: Path) -> float:
    """The same of a replay on disk, its pages in memory, against one in memory."""
    return compare(filled(frames, folder).sample, filled(frames).sample, rounds)


def compare(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> float:
    for _ in range(80):
        one(), other()  # a replay serves its online queue
    pairs = [(seconds(one), seconds(other)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


def seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def test_sampling_does_not_gather_record_by_record() -> None:
    # TorchRL's own slice sampler is at 18; the goal of 2 is held by the slow test, on more frames.
    assert ratio(frames=4000, rounds=60) < 4


def test_sampling_from_disk_reads_memory_and_no_files(tmp_path: Path) -> None:
    # A read call for each piece would be at 4; the goal of 1.5 is held by the slow test.
    assert disk_ratio(frames=2000, rounds=40, folder=tmp_path) < 2


@pytest.mark.slow
def test_sampling_from_disk_costs_at_most_half_as_much_again(tmp_path: Path) -> None:
    assert disk_ratio(frames=100_000, rounds=300, folder=tmp_path) < 1.5


@pytest.mark.slow
def test_sampling_costs_at_most_twice_contiguous_slices() -> None:
    assert ratio(frames=100_000, rounds=300) < 2
