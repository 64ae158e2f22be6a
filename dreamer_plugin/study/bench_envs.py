"""Env steps per second of whole training: envs, policy, replay and the updates that are due.

The run is the one `train` would make here, with the settings of the env's protocol that this
machine can hold. Only the first update comes sooner: the replay is not filled before it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from rich.console import Console

from dreamer_envs.errors import EnvsError
from dreamer_plugin.config import Config
from dreamer_plugin.run.display import Display
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.signals import StopSignals
from dreamer_plugin.run.training import Training
from dreamer_plugin.study.bench_update import Tell
from dreamer_plugin.study.phases import Meter, Place, clock, metered

ENVS = ("gym/CartPole-v1", "dmc/walker-walk", "atari/Pong")
RECORDS = 100_000
_FOREVER = 10**12


class Mark(NamedTuple):
    """Counters right after an agent step that updates followed."""

    seconds: float
    step: int
    updates: int
    collecting: float


class Clock:
    """Callback of a training: marks the ends of its cycles of steps and updates.

    The first mark comes after the first updates, so that compiling is not counted.

    Args:
        budget: seconds after the first mark; two cycles more are waited for in any case.
        meter: has the seconds spent collecting.
    """

    def __init__(self, budget: float, meter: Meter) -> None:
        self.marks: list[Mark] = []
        self._budget, self._meter = budget, meter

    def __call__(self, training: Training) -> bool:
        """Whether to go on."""
        progress = training.progress
        if progress.updates > (self.marks[-1].updates if self.marks else 0):
            collecting = self._meter.spent["collect"]
            now = time.perf_counter()
            self.marks.append(Mark(now, progress.step, progress.updates, collecting))
        if len(self.marks) < 3:
            return True
        return self.marks[-1].seconds - self.marks[0].seconds < self._budget


def measure_envs(
    resolve: Callable[[str], Config], tell: Tell, envs: Sequence[str] = ENVS, budget: float = 10.0
) -> list[dict[str, Any]]:
    """Time training on some envs.

    Args:
        resolve: env id -> settings of a run on it.
        tell: hears of the progress.
        envs: ids. budget: seconds for each.

    Returns:
        For each env its `steps_per_second`, or under `skipped` why there are none.
    """
    rows = []
    for i, env in enumerate(envs):
        tell(env, i, len(envs))
        try:
            row = measure_env(resolve(env), budget)
        except EnvsError as error:  # its package or its system library is missing
            row = {"skipped": " ".join(str(error).split())}
        rows.append({"env": env} | row)
    tell("envs", len(envs), len(envs))
    return rows


def measure_env(cfg: Config, budget: float) -> dict[str, Any]:
    """Train for `budget` seconds after the first update and say how fast that was."""
    # A run of seconds needs neither a long replay nor a folder for one on disk.
    capacity = min(cfg.replay.capacity, RECORDS)
    replay = replace(cfg.replay, capacity=capacity, storage="memory")
    run = replace(cfg.run, prefill=cfg.replay.batch_size, eval_every=0)
    cfg = replace(cfg, run=run, replay=replay)
    quiet = Console(file=io.StringIO())
    with Training(cfg, build_parts(cfg, source_of(cfg))) as training:
        places = [Place(training, "collect", "collect"), Place(training, "update", "update")]
        with metered(places, clock(training.parts.device)) as meter:
            timer = Clock(budget, meter)
            training.callbacks.append(timer)
            training.run(_FOREVER, Display(training.progress, quiet), StopSignals())
        first, last = timer.marks[0], timer.marks[-1]
        return {
            "size": cfg.size,
            "num_envs": training.parts.vector.num_envs,
            "precision": str(training.parts.agent.precision).removeprefix("torch."),
            "train_ratio": cfg.run.train_ratio,
            "action_repeat": training.parts.action_repeat,
            "updates": last.updates - first.updates,
            "seconds": last.seconds - first.seconds,
            "steps_per_second": (last.step - first.step) / (last.seconds - first.seconds),
            "steps_per_second_without_updates": (last.step - first.step)
            / (last.collecting - first.collecting),
        }
