"""The benchmark: chosen parts of it, on one workload, as one JSON-able report."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch

from dreamer_plugin.build import choose_precision
from dreamer_plugin.config import Config
from dreamer_plugin.errors import UsageError, nearest
from dreamer_plugin.run.allocator import allocator, keep_memory
from dreamer_plugin.run.devices import choose_device
from dreamer_plugin.run.machine import device_name
from dreamer_plugin.study import bench_envs, bench_policy, bench_replay
from dreamer_plugin.study.bench_update import Tell, measure_update
from dreamer_plugin.study.workloads import Workload, find

PARTS = ("update", "policy", "envs", "replay")


def bench(
    workload: str = "proprio1m",
    *,
    resolve: Callable[[str], Config],
    tell: Tell = lambda what, done, total: None,
    parts: Collection[str] = PARTS,
    device: str = "auto",
    precision: str = "auto",
    updates: int = 10,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure this machine.

    Args:
        workload: its name, see `workloads.py`.
        resolve: env id -> settings of a run on it, for the part `envs`; `overrides` in them.
        tell: hears what is done now, and how much of it.
        parts: what to measure, of `PARTS`.
        device, precision: `auto` or as in the configuration.
        updates: how many are timed.
        overrides: `key=value` texts; they are reported, for the workload is then another one.

    Raises:
        UsageError: for a workload, part, device or setting that does not exist.
    """
    check_parts(parts)
    found = find(workload)
    chosen = choose_device(device)
    options = {"device": str(chosen), "precision": precision}
    cfg = found.config(overrides, {name: v for name, v in options.items() if v != "auto"})
    kept = cfg.run.keep_memory and chosen.type == "cpu" and keep_memory()
    report = about(found, cfg, chosen) | {"keeps_memory": kept, "settings": list(overrides)}
    if "update" in parts:
        with found.training(cfg) as training:
            report |= measure_update(cfg, training, updates, tell)
    if "policy" in parts:
        with found.training(cfg) as training:
            report["policy"] = bench_policy.measure_policy(training, tell)
    if "replay" in parts:
        tell("replay", 0, 1)
        large = replace(cfg, replay=replace(cfg.replay, capacity=bench_replay.RECORDS))
        with found.training(large, bench_replay.RECORDS) as training:
            report["replay"] = bench_replay.measure_replay(large, training, tell)
    if "envs" in parts:
        report["envs"] = bench_envs.measure_envs(resolve, tell)
    return report


def about(workload: Workload, cfg: Config, device: torch.device) -> dict[str, Any]:
    """What was measured, and on what."""
    precision = choose_precision(cfg.precision, device)
    return {
        "workload": workload.name,
        "device": str(device),
        "precision": str(precision).removeprefix("torch."),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "waiting": os.environ.get("OMP_WAIT_POLICY", ""),
        "allocator": allocator(),
        "torch": torch.__version__,
        "dreamer_plugin": version("dreamer-plugin"),
        "python": platform.python_version(),
    }


def check_parts(parts: Collection[str]) -> None:
    """Refuse a part that does not exist.

    Raises:
        UsageError: naming the nearest.
    """
    for part in parts:
        if part not in PARTS:
            raise UsageError(nearest(part, PARTS, "part of the benchmark"))
