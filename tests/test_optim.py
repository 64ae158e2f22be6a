"""LaProp, adaptive clipping and schedules, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dreamer_plugin.optim import LaProp, clip_adaptive_, learning_rate


def _stepped(param: list[float], grads: list[list[float]], **settings: object) -> torch.Tensor:
    p = nn.Parameter(torch.tensor(param))
    opt = LaProp([p], **settings)
    for grad in grads:
        p.grad = torch.tensor(grad)
        opt.step()
    return p.detach()


def test_the_first_warm_up_update_changes_nothing() -> None:
    assert _stepped([1.0, 2.0], [[1.0, 1.0]], lr=1.0, warmup=10).tolist() == [1.0, 2.0]


def test_the_first_update_moves_by_the_rate_whatever_the_gradient() -> None:
    # v = .001 g^2, corrected g^2; u = g/|g| = 1; m = .1, corrected 1
    moved = _stepped([1.0, 1.0], [[1e-3, -50.0]], lr=0.1, warmup=0, agc=0.0)
    assert moved.tolist() == pytest.approx([0.9, 1.1], rel=1e-5)


def test_momentum_comes_after_normalisation() -> None:
    # Step 1: u = 1. Step 2 with gradient 0: v keeps .999 of .001 g^2, u = 0,
    # m = .9*.1 + .1*0 = .09, corrected by 1 - .81: an Adam would divide m by sqrt(v) anew.
    moved = _stepped([0.0], [[2.0], [0.0]], lr=1.0, warmup=0, agc=0.0)
    assert moved.item() == pytest.approx(-1 - 0.09 / 0.19, rel=1e-5)


def test_clipping_uses_whole_tensors_and_a_floor() -> None:
    params = [torch.tensor([3.0, 4.0]), torch.zeros(2)]
    grads = [torch.tensor([30.0, 40.0]), torch.tensor([3.0, 4.0])]
    clip_adaptive_(grads, params, 0.3, 1e-3)
    assert grads[0].tolist() == pytest.approx([0.9, 1.2])  # norm 50 to .3 * 5
    assert grads[1].tolist() == pytest.approx([3e-4 * 0.6, 3e-4 * 0.8])  # norm 5 to .3 * 1e-3


def test_small_gradients_are_not_scaled_up() -> None:
    grads = [torch.tensor([0.1, 0.0]), torch.zeros(2)]
    clip_adaptive_(grads, [torch.ones(2), torch.ones(2)], 0.3, 1e-3)
    assert grads[0].tolist() == pytest.approx([0.1, 0.0]) and not grads[1].any()


def test_weight_decay_is_decoupled() -> None:
    # Update 1 (as above) plus .5 * 2, times the rate
    moved = _stepped([2.0], [[1.0]], lr=0.1, warmup=0, agc=0.0, weight_decay=0.5)
    assert moved.item() == pytest.approx(2 - 0.1 * (1 + 0.5 * 2), rel=1e-5)


def test_parameters_without_gradient_stay() -> None:
    kept, moved = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    opt = LaProp([kept, moved], lr=0.1, warmup=0)
    moved.grad = torch.ones(2)
    opt.step()
    assert torch.equal(kept, torch.ones(2)) and not torch.equal(moved, torch.ones(2))


def test_tiny_gradients_do_not_divide_by_zero() -> None:
    moved = _stepped([1.0, 1.0], [[0.0, 1e-25]], lr=0.1, warmup=0)
    assert moved.isfinite().all() and moved[0] == 1


def test_schedules() -> None:
    rate = [learning_rate(n, 2.0, warmup=4) for n in range(6)]
    assert rate == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.0])
    linear = [learning_rate(n, 2.0, 0, 10, "linear") for n in (0, 5, 10, 20)]
    assert linear == pytest.approx([2.0, 1.1, 0.2, 0.2])
    # The cosine ends at lr * (0.1 lr): optax takes the end as a share and is given 0.1 lr.
    cosine = [learning_rate(n, 2.0, 0, 10, "cosine") for n in (0, 5, 10, 20)]
    assert cosine == pytest.approx([2.0, 2 * (0.8 * 0.5 + 0.2), 0.4, 0.4])
    assert learning_rate(2, 2.0, 4, 10, "cosine") == pytest.approx(1.0)
    assert math.isclose(learning_rate(7, 1e-2, 3, 10, "cosine"), 1e-2 * 0.3894, rel_tol=1e-3)


def test_unknown_schedule_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="'linar'; valid: constant, linear, cosine"):
        learning_rate(5, 1.0, schedule="linar")


def test_closures_are_refused() -> None:
    with pytest.raises(ValueError, match="no closure"):
        LaProp([nn.Parameter(torch.ones(1))]).step(lambda: 0.0)
