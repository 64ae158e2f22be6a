"""What a batch from replay costs against copying as many bytes out of plain NumPy arrays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dreamer_plugin.config import Config
from dreamer_plugin.data.fields import Field
from dreamer_plugin.data.replay import RecordReplay
from dreamer_plugin.run.training import Training
from dreamer_plugin.study.bench_update import Tell

RECORDS = 8192
ROUNDS = 60


def measure_replay(cfg: Config, training: Training, tell: Tell) -> dict[str, Any]:
    """Time samples of a filled replay and slices of the same size, in turns.

    Args:
        cfg: of the run. training: its replay holds the records. tell: hears of the progress.

    Returns:
        `seconds_per_sample`, `seconds_of_slices`, their `ratio`, and bytes of a batch.
    """
    replay = training.parts.replay
    length = cfg.replay.batch_length + cfg.replay.context
    fields = replay.storage.fields
    draw = contiguous_slices(fields, len(replay.storage), cfg.replay.batch_size, length)
    _serve_fresh(replay, cfg.replay.batch_size, length)
    pairs = []
    for i in range(ROUNDS):
        if i % 10 == 0:
            tell("replay", i, ROUNDS)
        pairs.append((_seconds(replay.sample), _seconds(draw)))
    tell("replay", ROUNDS, ROUNDS)
    sampled, sliced = (statistics.median(times) for times in zip(*pairs, strict=True))
    count = cfg.replay.batch_size * length * sum(field.nbytes for field in fields)
    return {
        "records": len(replay.storage),
        "batch_bytes": count,
        "seconds_per_sample": sampled,
        "seconds_of_slices": sliced,
        "ratio": sampled / sliced,
    }


def contiguous_slices(
    fields: Sequence[Field], records: int, rows: int, length: int
) -> Callable[[], list[np.ndarray]]:
    """Draws `rows` random slices of `length` out of one NumPy array `[records, *]` per field."""
    arrays = [field.empty(records) for field in fields]
    for array in arrays:
        array[:] = 1
    rng = np.random.default_rng(0)

    def draw() -> list[np.ndarray]:
        out = [np.empty((rows, length, *array.shape[1:]), array.dtype) for array in arrays]
        for row, start in enumerate(rng.integers(0, records - length + 1, rows)):
            for target, array in zip(out, arrays, strict=True):
                target[row] = array[start : start + length]
        return out

    return draw


def _serve_fresh(replay: RecordReplay, rows: int, length: int) -> None:
    """Draw what the online queue serves first, until windows are drawn at random."""
    for _ in range(len(replay.storage) // (rows * length) + 1):
        replay.sample()


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
