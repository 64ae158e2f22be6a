"""Metrics are averaged, written as strict JSON, and rewound on resume."""

import json
import math

import pytest
import torch

from dreamer_plugin.run.metrics import MeanMetrics, MetricsLog, read_metrics
from dreamer_plugin.run.sinks import TensorBoard


def test_means_are_over_the_updates_that_reported_the_name():
    metrics = MeanMetrics()
    metrics.add({"loss": torch.tensor(1.0), "norm": torch.tensor(4)})
    metrics.add({"loss": torch.tensor(3.0), "norm": torch.tensor(8)})
    metrics.add({"rare": torch.tensor(5.0)})
    assert metrics.drain() == {"loss": 2.0, "norm": 6.0, "rare": 5.0}
    assert metrics.drain() == {}


def test_updates_of_two_kinds_count_alike_in_what_both_report():
    metrics = MeanMetrics()
    metrics.add({"kl": torch.tensor(1.0), "loss/dyn": torch.tensor(2.0)})
    for _ in range(3):
        metrics.add({"kl": torch.tensor(5.0), "loss/policy": torch.tensor(0.5)})
    assert metrics.drain() == {"kl": 4.0, "loss/dyn": 2.0, "loss/policy": 0.5}


def test_metrics_hold_no_graph():
    metrics = MeanMetrics()
    metrics.add({"loss": torch.ones((), requires_grad=True) * 2})
    (total,) = metrics._sums.values()
    assert not total.requires_grad


def test_rows_are_strict_json_and_tensorboard_events_exist(tmp_path):
    log = MetricsLog(tmp_path, sinks=[TensorBoard])
    log.write(3, {"loss/reward": 0.5, "loss/bad": math.nan}, frames=12, updates=1)
    log.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    assert row == {"step": 3, "frames": 12, "updates": 1, "loss/reward": 0.5, "loss/bad": None}
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert b"loss/reward" in events.read_bytes()


def test_resume_drops_the_rows_that_will_be_run_again(tmp_path):
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, {"loss": float(step)})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # cut by a kill
    log = MetricsLog(tmp_path, resumed_at=2)
    log.write(3, {"loss": 9.0})
    log.close()
    assert [(row["step"], row["loss"]) for row in read_metrics(tmp_path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 9.0),
    ]


def test_the_log_outlives_a_kill_while_rows_are_dropped(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path)
    log.write(1, {"loss": 1.0})
    log.close()

    def killed(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricsLog(tmp_path, resumed_at=0)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1]
