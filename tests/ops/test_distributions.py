"""Outputs of networks: losses by hand, and samples as functions of uniform noise."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.ops.distributions import (
    MSE,
    Binary,
    BoundedNormal,
    Categorical,
    DiscreteTarget,
    SymlogTwoHot,
    TwoHot,
    categorical_index,
    normal_quantile,
)
from dreamer_plugin.ops.scaling import linear_bins, symexp_bins

BINS = torch.tensor([-10.0, -1.0, 0.0, 1.0, 10.0])
LARGEST_UNIFORM = 1 - 2.0**-24  # what torch.rand can return at most


def _label(target: float) -> list[float]:
    """The soft label that the loss compares with: softmax minus the loss's gradient."""
    logits = torch.zeros(1, len(BINS), requires_grad=True)
    TwoHot(logits, BINS).loss(torch.tensor([target])).sum().backward()
    return (logits.detach().softmax(-1) - logits.grad)[0].tolist()


@pytest.mark.parametrize(
    ("target", "label"),
    [
        (0.0, [0, 0, 1, 0, 0]),
        (1.0, [0, 0, 0, 1, 0]),
        (10.0, [0, 0, 0, 0, 1]),
        (-10.0, [1, 0, 0, 0, 0]),
        (0.25, [0, 0, 0.75, 0.25, 0]),
        (4.0, [0, 0, 0, 2 / 3, 1 / 3]),  # in raw space: 3 of 9 from 1 to 10
        (1e9, [0, 0, 0, 0, 1]),
        (-1e9, [1, 0, 0, 0, 0]),
    ],
)
def test_two_hot_label(target: float, label: list[float]) -> None:
    assert _label(target) == pytest.approx(label, abs=1e-6)


def test_two_hot_loss_is_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 1, 2, 3, 4]])
    logp = logits.log_softmax(-1)[0]
    loss = TwoHot(logits, BINS).loss(torch.tensor([0.25]))
    assert loss.item() == pytest.approx(-(0.75 * logp[2] + 0.25 * logp[3]).item(), rel=1e-6)


@pytest.mark.parametrize("count", [40, 255])
def test_symmetric_logits_predict_exactly_zero(count: int) -> None:
    half = torch.randn(7, (count + 1) // 2) * 5
    logits = torch.cat([half, half[:, : count // 2].flip(-1)], -1)
    assert torch.equal(TwoHot(logits, symexp_bins(count)).pred(), torch.zeros(7))


def test_two_hot_mean_of_a_certain_bin() -> None:
    logits = torch.full((5, 5), -1e4).fill_diagonal_(1e4)
    assert torch.equal(TwoHot(logits, BINS).pred(), BINS)


def test_two_hot_target_takes_no_gradient() -> None:
    target = torch.tensor([0.5], requires_grad=True)
    logits = torch.zeros(1, 5, requires_grad=True)
    TwoHot(logits, BINS).loss(target).sum().backward()
    assert target.grad is None


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


def test_bounded_normal_bounds_and_likelihood() -> None:
    raw = torch.tensor([[-100.0], [0.0], [100.0]])
    normal = BoundedNormal(raw, raw, 0.1, 1.0)
    middle = 0.9 / (1 + math.exp(-2)) + 0.1
    assert normal.std.flatten().tolist() == pytest.approx([0.1, middle, 1.0])
    assert normal.mean.flatten().tolist() == [-1.0, 0.0, 1.0]
    reference = torch.distributions.Normal(normal.mean, normal.std)
    value = torch.randn(3, 1) * 3  # beyond [-1, 1] as well: nothing is squashed
    assert torch.allclose(normal.logp(value), reference.log_prob(value), atol=1e-5)
    assert torch.allclose(normal.entropy(), reference.entropy(), atol=1e-6)


def test_normal_quantile_is_finite_at_both_ends_and_exact_inside() -> None:
    ends = normal_quantile(torch.tensor([0.0, LARGEST_UNIFORM]))
    assert ends.isfinite().all() and ends[0] < -5 and ends[1] > 5
    inside = normal_quantile(torch.tensor([0.5, 0.841344746]))  # the normal CDF of 0 and of 1
    assert inside.tolist() == pytest.approx([0.0, 1.0], abs=1e-5)


def test_binary_takes_soft_targets() -> None:
    loss = Binary(torch.tensor(0.0)).loss(torch.tensor(0.3))
    assert loss.item() == pytest.approx(math.log(2))
    assert Binary(torch.tensor(100.0)).loss(torch.tensor(0.0)).item() == pytest.approx(100.0)


def test_squared_errors_are_summed_without_a_half() -> None:
    mean, target = torch.zeros(2, 3), torch.full((2, 3), math.e - 1)
    assert MSE(mean, 1).loss(target).tolist() == pytest.approx([3 * (math.e - 1) ** 2] * 2)
    assert MSE(mean, 1, symlog_target=True).loss(target).tolist() == pytest.approx([3.0] * 2)


def test_discrete_targets_sum_over_the_event() -> None:
    out = DiscreteTarget(torch.zeros(2, 3, 4), 1)
    assert out.loss(torch.zeros(2, 3)).tolist() == pytest.approx([3 * math.log(4)] * 2)
    assert out.pred().shape == (2, 3)


def test_a_squashed_two_hot_spreads_its_target_in_symlog_space() -> None:
    """Bins -2 -1 0 1 2; symlog(e^1.25 - 1) = 1.25, so bin 1 gets 0.75 and bin 2 gets 0.25."""
    logits = torch.zeros(1, 5, requires_grad=True)
    out = SymlogTwoHot(logits, linear_bins(5, 2.0))
    out.loss(torch.tensor([math.exp(1.25) - 1])).sum().backward()
    label = (logits.detach().softmax(-1) - logits.grad)[0]
    assert torch.allclose(label, torch.tensor([0, 0, 0, 0.75, 0.25]), atol=1e-6)


def test_a_squashed_two_hot_takes_the_mean_before_symexp() -> None:
    """Half of bin 0 and half of bin 2: symexp(1) = e - 1, where the mean of values is 3.19."""
    logits = torch.tensor([[-1e9, -1e9, 0.0, -1e9, 0.0]])
    assert SymlogTwoHot(logits, linear_bins(5, 2.0)).pred().item() == pytest.approx(math.e - 1)
    bins = torch.sign(linear_bins(5, 2.0)) * torch.expm1(linear_bins(5, 2.0).abs())
    assert TwoHot(logits, bins).pred().item() == pytest.approx((math.e**2 - 1) / 2)


def test_the_mode_of_a_continuation_is_zero_or_one() -> None:
    logit = torch.tensor([-3.0, -1e-3, 1e-3, 3.0], requires_grad=True)
    mode = Binary(logit).mode()
    assert mode.tolist() == [0.0, 0.0, 1.0, 1.0] and not mode.requires_grad
