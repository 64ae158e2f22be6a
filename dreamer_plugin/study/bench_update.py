"""What one update costs: seconds, where they go, floating-point work, memory.

An update is the one of training: sample from replay, encode, observe, heads, dream, returns, every
loss, backward, optimiser, write-back. Updates with and without a meter take turns, so that the
breakdown and the total are of the same minutes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dreamer_plugin import graphs
from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import Config
from dreamer_plugin.run.training import Training
from dreamer_plugin.study.hardware import DTYPES, matmul_rate, peak_rss
from dreamer_plugin.study.phases import UPDATE, agent_places, clock, metered, update_places

Tell = Callable[[str, int, int], None]  # what is done, how many of it, of how many
WARM_UP = 2  # updates that are not counted: the first one compiles, and grows the heap


def measure_update(cfg: Config, training: Training, updates: int, tell: Tell) -> dict[str, Any]:
    """Time updates and count their work.

    Args:
        cfg: of the run. training: from `Workload.training`.
        updates: counted ones; half as many again are made for the breakdown.
        tell: hears of the progress.

    Returns:
        JSON-able: `seconds_per_update` (the median) and the rest of `docs/performance.md`.
    """
    parts, rss = training.parts, peak_rss()
    device, precision = parts.device, str(parts.agent.precision).removeprefix("torch.")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    read = clock(device)
    # The optimiser's averages come with the first update, and what is recorded begins after it.
    uncounted = WARM_UP + (1 + graphs.WARM_UP if cfg.compile == "graph" else 0)
    first = [_seconds(training, read) for _ in _counted(uncounted, "first updates", tell)][0]
    plain, split = [], []
    for i in _counted(updates, "updates", tell):
        plain.append(_seconds(training, read))
        if i % 2 == 0:
            places = update_places(training)
            with not_replayed(parts.agent), metered(places, read) as meter:
                training.update(training.parts.replay.sample())
            split.append(meter.take())
    memory = {"peak_rss": peak_rss(), "rss_before": rss}
    if device.type == "cuda":
        memory["peak_cuda"] = torch.cuda.max_memory_allocated(device)
    tell("floating-point work", 0, 1)
    work = floating_point_work(cfg, training)
    median = statistics.median(plain)
    rates = {name: matmul_rate(device, name, *_matmul_size(cfg)) for name in DTYPES}
    return {
        "compile": parts.compiling,
        "seconds_per_update": median,
        "seconds": spread(plain) | {"first": first, "each": plain},
        "breakdown": {
            phase: statistics.median(part.get(phase, 0.0) for part in split) for phase in UPDATE
        },
        "flops_per_update": sum(work.values()),
        "flops_breakdown": {phase: work[phase] for phase in UPDATE if work.get(phase)},
        "flops_per_second": sum(work.values()) / median,
        "matmul_flops_per_second": rates,
        "of_matmul_rate": sum(work.values()) / median / rates[precision],
        "memory": memory,
    }


def floating_point_work(cfg: Config, training: Training) -> dict[str, float]:
    """Operations of one update by phase: matrix products and convolutions, a multiply-add is two.

    Counted on an agent of its own that is not compiled: compiled code does not pass the counter.
    Functions with a backward of their own (`world/scan.py`) are counted in both directions.
    """
    parts = training.parts
    agent = build_agent(cfg, parts.native.spaces, parts.device)
    batch = parts.replay.sample().to(parts.device)
    with (
        FlopCounterMode(display=False) as counter,
        metered(agent_places(agent), lambda: float(counter.get_total_flops())) as meter,
    ):
        agent.update(batch)
    return meter.take()


@contextmanager
def not_replayed(agent: Agent) -> Iterator[None]:
    """Updates through Python, where phases begin and end; what was recorded is kept."""
    usual, agent.updating = agent.updating, Agent.update_on_device
    try:
        yield
    finally:
        agent.updating = usual


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest, largest, and the range between the quartiles."""
    ordered = sorted(values)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.25, 0.75))
    return {
        "median": statistics.median(ordered),
        "min": ordered[0],
        "max": ordered[-1],
        "spread": high - low,
    }


def _seconds(training: Training, read: Callable[[], float]) -> float:
    started = read()
    training.update(training.parts.replay.sample())
    return read() - started


def _counted(count: int, what: str, tell: Tell) -> Any:
    for i in range(count):
        tell(what, i, count)
        yield i
    tell(what, count, count)


def _matmul_size(cfg: Config) -> tuple[int, ...]:
    """Small products for a workload of tests, the usual ones otherwise."""
    return (256,) if cfg.model.deter < 512 else ()
