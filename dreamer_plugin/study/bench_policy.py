"""What one decision costs, for one env and for many.

The collector steps envs that cost nothing and keeps no records: what is left is the noise, the
policy with its copies to and from the device, and the env's form of every action.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.collect import VectorCollector
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.run.training import Training
from dreamer_plugin.study.bench_update import Tell
from dreamer_plugin.study.phases import Place, clock, metered

ENVS = (1, 8, 16, 64)
WARM_UP, LEAST, MOST = 3, 10, 200  # steps


def measure_policy(
    training: Training, tell: Tell, envs: Sequence[int] = ENVS, budget: float = 3.0
) -> list[dict[str, Any]]:
    """Time decisions.

    Args:
        training: of the workload.
        tell: hears of the progress.
        envs: numbers of envs side by side.
        budget: seconds for each, if 10 steps fit in.

    Returns:
        For each number: `seconds_per_step`, `seconds_act` (the policy alone) and decisions per
        second.
    """
    rows = []
    for i, count in enumerate(envs):
        tell("policy", i, len(envs))
        rows.append(_measure(training, count, budget))
    tell("policy", len(envs), len(envs))
    return rows


def _measure(training: Training, count: int, budget: float) -> dict[str, Any]:
    parts = training.parts
    vector = parts.source.vector(0, count)
    collector = VectorCollector(
        vector,
        parts.agent,
        None,
        Aligner(count, parts.native.spaces),
        NoiseStreams(0, count, parts.agent.noise_size),
    )
    places = [
        Place(collector, "step", "loop"),
        Place(vector, "step", "env"),
        Place(parts.agent, "act", "act"),
    ]
    steps: list[dict[str, float]] = []
    try:
        with metered(places, clock(parts.device)) as meter:
            for _ in range(WARM_UP):
                collector.step()
            meter.take()
            until = time.perf_counter() + budget
            while len(steps) < LEAST or (len(steps) < MOST and time.perf_counter() < until):
                collector.step()
                steps.append(meter.take())
    finally:
        vector.close()
    seconds = statistics.median(step["loop"] + step["act"] for step in steps)
    return {
        "envs": count,
        "seconds_per_step": seconds,
        "seconds_act": statistics.median(step["act"] for step in steps),
        "decisions_per_second": count / seconds,
    }
