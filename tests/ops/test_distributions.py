"""Outputs of networks: losses by hand, and samples as functions of uniform noise."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.ops.distributions import (
    MSE,
    Binary,
    Categorical,
    DiscreteTarget,
    UnitNormal,
    categorical_index,
    gumbel_one_hot,
)

LARGEST_UNIFORM = 1 - 2.0**-24  # what torch.rand can return at most


def test_inverse_cdf_draws_have_the_right_frequencies() -> None:
    probs = torch.tensor([0.1, 0.0, 0.6, 0.3])
    grid = (torch.arange(1000) + 0.5) / 1000  # each class must get its share to one in a thousand
    index = categorical_index(probs.expand(1000, 4), grid)
    share = torch.bincount(index, minlength=4) / 1000
    assert torch.allclose(share, probs, atol=1.01e-3)


@pytest.mark.parametrize("uniform", [0.0, LARGEST_UNIFORM])
def test_impossible_classes_are_never_drawn(uniform: float) -> None:
    probs = torch.tensor([0.0, 0.5, 0.5, 0.0])
    assert categorical_index(probs, torch.tensor(uniform)).item() in (1, 2)


def test_unimix_floors_probabilities() -> None:
    mixed = Categorical(torch.tensor([100.0, 0, 0, 0]), unimix=0.01)
    assert mixed.probs.tolist() == pytest.approx([0.9925, 0.0025, 0.0025, 0.0025], rel=1e-5)
    plain = Categorical(torch.tensor([100.0, 0, 0, 0]))
    assert plain.probs[1].item() < 1e-30


def test_categorical_sample_is_one_hot_with_the_gradient_of_probabilities() -> None:
    logits = torch.randn(6, 5, requires_grad=True)
    dist, pull = Categorical(logits, 0.01), torch.randn(6, 5)
    sample = dist.sample(torch.rand(6))
    assert torch.allclose(
        sample.detach().sort(-1).values, torch.eye(5)[[4]].expand(6, 5), atol=1e-6
    )
    ours = torch.autograd.grad((sample * pull).sum(), logits, retain_graph=True)[0]
    expected = torch.autograd.grad((dist.probs * pull).sum(), logits)[0]
    assert torch.allclose(ours, expected)


def test_categorical_entropy_and_likelihood_by_hand() -> None:
    dist = Categorical(torch.tensor([0.25, 0.75]).log())
    assert dist.entropy().item() == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert dist.logp(torch.tensor([0.0, 1.0])).item() == pytest.approx(math.log(0.75))
    assert dist.mode().tolist() == [0.0, 1.0]


def test_binary_takes_soft_targets() -> None:
    loss = Binary(torch.tensor(0.0)).loss(torch.tensor(0.3))
    assert loss.item() == pytest.approx(math.log(2))
    assert Binary(torch.tensor(100.0)).loss(torch.tensor(0.0)).item() == pytest.approx(100.0)


def test_squared_errors_are_summed_without_a_half() -> None:
    mean, target = torch.zeros(2, 3), torch.full((2, 3), math.e - 1)
    assert MSE(mean, 1).loss(target).tolist() == pytest.approx([3 * (math.e - 1) ** 2] * 2)
    assert MSE(mean, 1, symlog_target=True).loss(target).tolist() == pytest.approx([3.0] * 2)


def test_a_unit_normal_is_a_normal_less_its_constant() -> None:
    mean, target = torch.randn(4, 2, 3, requires_grad=True), torch.randn(4, 2, 3)
    loss = UnitNormal(mean, 2).loss(target)
    logp = torch.distributions.Normal(mean, 1.0).log_prob(target).sum((-2, -1))
    assert torch.allclose(loss, -logp - 6 * 0.5 * math.log(2 * math.pi), atol=1e-5)
    (slope,) = torch.autograd.grad(loss.sum(), mean)
    assert torch.allclose(slope, mean - target)
    assert torch.equal(UnitNormal(mean, 2).pred(), mean)


def test_gumbel_noise_and_its_gradient_by_hand() -> None:
    """Noise -ln(-ln u) = 0 at u = 1/e, ln 2 at exp(-1/2); of 0.5, 0.3 and 2 * 0.2 the first wins.

    With tau = 2 the softmax is that of square roots, whose derivatives are y (I - y^T) / tau.
    """
    logprobs = torch.tensor([0.5, 0.3, 0.2]).log().requires_grad_()
    uniform = torch.tensor([math.exp(-1), math.exp(-1), math.exp(-0.5)])
    draw = gumbel_one_hot(logprobs, uniform, tau=2.0)
    assert draw.tolist() == [1.0, 0.0, 0.0]
    roots = torch.tensor([0.5, 0.3, 0.4]).sqrt()
    y, pull = roots / roots.sum(), torch.tensor([1.0, -2.0, 5.0])
    (ours,) = torch.autograd.grad((draw * pull).sum(), logprobs)
    assert torch.allclose(ours, y * (pull - (y * pull).sum()) / 2)


def test_gumbel_draws_have_the_right_frequencies_and_stay_finite() -> None:
    logprobs = torch.tensor([0.1, 0.3, 0.6]).log().expand(20000, 3)
    noise = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0))
    share = gumbel_one_hot(logprobs, noise, tau=0.1).mean(0)
    # Four standard deviations of the middle one: 4 sqrt(0.6 * 0.4 / 20000).
    assert torch.allclose(share, torch.tensor([0.1, 0.3, 0.6]), atol=0.014)
    ends = torch.tensor([[0.0, LARGEST_UNIFORM, 0.5], [LARGEST_UNIFORM, 0.0, 0.0], [0.0] * 3])
    logits = torch.tensor([[50.0, -50, 0]] * 3).log_softmax(-1).requires_grad_()
    draw = gumbel_one_hot(logits, ends, tau=0.1)
    (grad,) = torch.autograd.grad((draw * torch.randn(3, 3)).sum(), logits)
    assert draw.isfinite().all() and grad.isfinite().all()


def test_discrete_targets_sum_over_the_event() -> None:
    out = DiscreteTarget(torch.zeros(2, 3, 4), 1)
    assert out.loss(torch.zeros(2, 3)).tolist() == pytest.approx([3 * math.log(4)] * 2)
    assert out.pred().shape == (2, 3)


def test_the_mode_of_a_continuation_is_zero_or_one() -> None:
    logit = torch.tensor([-3.0, -1e-3, 1e-3, 3.0], requires_grad=True)
    mode = Binary(logit).mode()
    assert mode.tolist() == [0.0, 0.0, 1.0, 1.0] and not mode.requires_grad
