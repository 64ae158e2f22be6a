"""Divergences by hand, and what free nats do to gradients."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.ops.divergence import balanced_kl, categorical_kl, normal_kl


def _logp(*probs: float) -> torch.Tensor:
    return torch.tensor([[list(probs)]]).log()  # one batch element, one group


def test_categorical_by_hand() -> None:
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    kl = categorical_kl(_logp(0.5, 0.5), _logp(0.25, 0.75))
    assert kl.item() == pytest.approx(expected, rel=1e-6)


def test_groups_are_summed() -> None:
    p, q = _logp(0.5, 0.5).repeat(1, 3, 1), _logp(0.25, 0.75).repeat(1, 3, 1)
    one = categorical_kl(p[:, :1], q[:, :1])
    assert torch.allclose(categorical_kl(p, q), 3 * one)


def test_normal_by_hand() -> None:
    # log(2/1) + (1 + (0-1)^2) / (2*4) - 1/2
    kl = normal_kl(*(torch.tensor(x) for x in (0.0, 1.0, 1.0, 2.0)))
    assert kl.item() == pytest.approx(math.log(2) + 2 / 8 - 0.5, rel=1e-6)


@pytest.mark.parametrize("free", [0.0, 5.0])
def test_free_nats_floor_the_loss_and_cut_the_gradient(free: float) -> None:
    post, prior = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    dyn, rep = balanced_kl(
        lambda p, q: categorical_kl(p.log_softmax(-1), q.log_softmax(-1)), post, prior, free
    )
    (dyn + rep).sum().backward()
    assert torch.equal(dyn, rep)
    assert (dyn >= free).all()
    below = free > 0  # no divergence of these reaches 5 nats
    assert post.grad.any().item() is not below and prior.grad.any().item() is not below


def test_each_half_trains_its_own_side() -> None:
    post, prior = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    dyn, rep = balanced_kl(
        lambda p, q: categorical_kl(p.log_softmax(-1), q.log_softmax(-1)), post, prior, 0.0
    )
    assert torch.autograd.grad(dyn.sum(), (post, prior), allow_unused=True)[0] is None
    assert torch.autograd.grad(rep.sum(), (post, prior), allow_unused=True)[1] is None
