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


def test_free_nats_can_hold_for_the_mean() -> None:
    """Divergences 1 and 5 with 2 free nats: each gives 2 and 5, their mean 3 stays; with 4 it is 4.

    Below it no gradient is left, however large one of them is (V1, `free_nats`).
    """
    post = torch.tensor([1.0, 5.0], requires_grad=True)

    def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return p - q

    for free, over, expected, grad in (
        (2.0, "each", [2.0, 5.0], [0.0, 1.0]),
        (2.0, "mean", [3.0, 3.0], [1.0, 1.0]),
        (4.0, "mean", [4.0, 4.0], [0.0, 0.0]),
    ):
        _, rep = balanced_kl(kl, post, torch.zeros(2), free, over)
        assert rep.tolist() == expected
        assert torch.autograd.grad(rep.sum(), post)[0].tolist() == grad


def test_the_plain_sum_of_both_halves_has_the_gradients_of_one_divergence() -> None:
    post, prior = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))

    def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return categorical_kl(p.log_softmax(-1), q.log_softmax(-1))

    halves = torch.autograd.grad(sum(balanced_kl(kl, post, prior, 0.0)).sum(), (post, prior))
    whole = torch.autograd.grad(kl(post, prior).sum(), (post, prior))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(halves, whole, strict=True))
