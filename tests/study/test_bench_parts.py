"""Decisions, replay and training on envs: what is counted, and what is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dreamer_envs.errors import MissingPackageError
from dreamer_plugin.config import Config, compose
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.training import Training
from dreamer_plugin.study.bench import bench
from dreamer_plugin.study.bench_envs import Clock, measure_envs
from dreamer_plugin.study.bench_policy import measure_policy
from dreamer_plugin.study.bench_replay import contiguous_slices, measure_replay
from dreamer_plugin.study.phases import Meter
from dreamer_plugin.study.workloads import find

CFG = find("tiny").config([], {"device": "cpu", "precision": "float32"})
SMALL = Path(__file__).parents[1] / "run" / "tiny.yaml"


def silent(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def training():
    with find("tiny").training(CFG, 300) as made:
        yield made


def test_decisions_for_one_env_and_for_many(training: Training) -> None:
    rows = measure_policy(training, silent, (1, 5), budget=0)
    assert [row["envs"] for row in rows] == [1, 5]
    for row in rows:
        assert 0 < row["seconds_act"] < row["seconds_per_step"] < 1
        assert row["decisions_per_second"] == row["envs"] / row["seconds_per_step"]
    assert "act" not in vars(training.parts.agent)


def test_samples_stand_beside_slices_of_the_same_size(training: Training) -> None:
    row = measure_replay(CFG, training, silent)
    # By hand: 24 of obs, 6 of action, reward and 32 of deter in float32, 3 flags, 4 latents.
    assert row["batch_bytes"] == 4 * 17 * (4 * (24 + 6 + 1 + 32) + 3 + 4)
    assert row["records"] == 300
    assert row["ratio"] == row["seconds_per_sample"] / row["seconds_of_slices"] > 0
    fields = training.parts.replay.storage.fields
    drawn = contiguous_slices(fields, 300, 4, 17)()
    assert [array.shape[2:] for array in drawn] == [field.shape for field in fields]
    assert all(array.shape[:2] == (4, 17) and np.all(array == 1) for array in drawn)


def test_cycles_are_counted_from_the_end_of_the_first_updates() -> None:
    meter = Meter(lambda: 0.0)
    timer = Clock(budget=0.0, meter=meter)
    going = []
    for step, updates in enumerate([0, 0, 2, 2, 3, 3, 4]):
        meter.spent["collect"] = float(step)
        progress = SimpleNamespace(step=step, updates=updates)
        going.append(timer(SimpleNamespace(progress=progress)))
    assert going == [True] * 6 + [False]
    assert [mark[1:] for mark in timer.marks] == [(2, 2, 2.0), (4, 3, 4.0), (6, 4, 6.0)]


def small(env: str) -> Config:
    if env == "atari/Pong":
        raise MissingPackageError("atari needs ale-py:\npip install 'dreamer-plugin[atari]'")
    return compose(env, config=[SMALL]).config


def test_envs_are_trained_on_or_skipped_with_the_reason() -> None:
    toy, pong = measure_envs(small, silent, ("toy/catch", "atari/Pong"), budget=0.05)
    assert pong == {
        "env": "atari/Pong",
        "skipped": "atari needs ale-py: pip install 'dreamer-plugin[atari]'",
    }
    assert toy["num_envs"] == 2 and toy["train_ratio"] == 4
    assert toy["updates"] >= 2 and toy["seconds"] >= 0.05
    assert toy["steps_per_second_without_updates"] > toy["steps_per_second"] > 0
    # Ratio 4 and batches of 2 x 8: an update every 4 steps.
    steps = toy["steps_per_second"] * toy["seconds"]
    assert steps == pytest.approx(4 * toy["updates"])


def test_a_report_has_the_parts_that_were_asked_for() -> None:
    asked = {"resolve": small, "updates": 1, "device": "cpu", "precision": "float32"}
    report = bench("tiny", parts=["update", "replay"], overrides=["seed=3"], **asked)
    assert [report[key] for key in ("workload", "device", "precision")] == [
        "tiny",
        "cpu",
        "float32",
    ]
    assert report["seconds_per_update"] > 0 and report["replay"]["records"] == 8192
    assert report["settings"] == ["seed=3"]
    assert "policy" not in report and "envs" not in report
    json.dumps(report)


def test_an_unknown_part_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="'updates'. Did you mean 'update'"):
        bench("tiny", parts=["updates"], resolve=small)
