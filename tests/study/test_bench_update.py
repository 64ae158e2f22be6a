"""Floating-point work by hand, and the figures of one update."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dreamer_plugin.run.training import Training
from dreamer_plugin.study import hardware
from dreamer_plugin.study.bench_update import floating_point_work, measure_update, spread
from dreamer_plugin.study.phases import UPDATE
from dreamer_plugin.study.workloads import find
from dreamer_plugin.world.scan import DeferredScan

CFG = find("tiny").config([], {"device": "cpu", "precision": "float32"})


@pytest.fixture(scope="module")
def training():
    with find("tiny").training(CFG) as made:
        yield made


def test_products_inside_the_scan_are_counted_in_both_directions(training: Training) -> None:
    """Multiply-adds of one row of `observe`, by hand from the drawing in `world/scan.py`."""
    deter, hidden, latent, actions, embed, blocks = 32, 16, 16, 6, 16, 8
    action_branch = actions * hidden
    products = [
        action_branch,
        deter * hidden + latent * hidden,  # a1, a2
        (deter // blocks + 3 * hidden) * deter,  # m: every block sees its own part and the shared
        deter // blocks * 3 * deter,  # g
        (deter + embed) * hidden + hidden * latent,  # p, l
        deter * hidden + hidden * hidden + hidden * latent,  # the prior: two units and its output
    ]
    forward = 2 * 4 * 16 * sum(products)  # a multiply-add is two; batch 4, length 16
    rssm = training.parts.agent.world.rssm
    assert isinstance(rssm.scan, DeferredScan)
    start = rssm.initial(4)
    embeds = torch.randn(4, 16, embed, requires_grad=True)
    no = torch.zeros(4, 16, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        moves, noise = torch.randn(4, 16, actions), torch.rand(4, 16, *rssm.latent.noise_shape)
        states = rssm.observe(embeds, moves, no, start, noise)
        assert counter.get_total_flops() == forward
        (states["feat"].sum() + states["post"].sum() + states["prior"].sum()).backward()
        # Gradients of inputs and of weights: twice the products; the actions themselves need none.
        both = 3 * forward - 2 * 4 * 16 * action_branch
        assert counter.get_total_flops() == both


def test_work_is_split_by_phase_and_backward_is_the_largest(training: Training) -> None:
    work = floating_point_work(CFG, training)
    assert set(work) <= set(UPDATE)
    assert [phase for phase in UPDATE if work.get(phase)] == [
        "encode",
        "observe",
        "heads",
        "imagine",
        "returns",
        "backward",
    ]
    # The encoder by hand: three layers on 24 numbers, 64 rows, a multiply-add is two.
    assert work["encode"] == 2 * 64 * (24 * 16 + 16 * 16 + 16 * 16)
    assert work["backward"] > work["observe"] + work["heads"]


def test_the_report_of_an_update(training: Training) -> None:
    told: list[tuple[str, int, int]] = []
    report = measure_update(CFG, training, 3, lambda *what: told.append(what))
    assert json.loads(json.dumps(report)) == report
    assert len(report["seconds"]["each"]) == 3
    assert report["seconds_per_update"] == sorted(report["seconds"]["each"])[1]
    assert tuple(report["breakdown"]) == UPDATE and min(report["breakdown"].values()) > 0
    assert report["flops_per_update"] == sum(report["flops_breakdown"].values())
    rate = report["flops_per_update"] / report["seconds_per_update"]
    assert report["flops_per_second"] == rate
    assert report["of_matmul_rate"] == rate / report["matmul_flops_per_second"]["float32"]
    assert report["memory"]["peak_rss"] >= report["memory"]["rss_before"] > 50 * 2**20
    assert told[0] == ("first updates", 0, 2) and ("updates", 3, 3) in told
    assert training.parts.agent.updates == 2 + 3 + 2  # first ones, timed, for the breakdown


def test_spread_by_hand() -> None:
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == {"median": 3, "min": 1, "max": 5, "spread": 2}


def test_the_rate_of_products_is_that_of_the_best_round(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3.0, 10.0, 12.0, 20.0, 25.0])  # rounds of 3, 2 and 5 seconds
    monkeypatch.setattr(hardware, "clock", lambda device: lambda: next(times))
    rate = hardware.matmul_rate(torch.device("cpu"), "bfloat16", size=10, rounds=3)
    assert rate == 2 * 10**3 / 2
