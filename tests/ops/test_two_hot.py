"""Two-hot outputs: by hand, and beside a plain form that knows nothing of folded logits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dreamer_plugin.ops.scaling import linear_bins, symexp_bins
from dreamer_plugin.ops.two_hot import SymlogTwoHot, TwoHot, fold

BINS = torch.tensor([-10.0, -1.0, 0.0, 1.0, 10.0])


def test_folded_logits_run_outwards_from_zero() -> None:
    """The order of the table in `ops/two_hot.py`, written out by hand."""
    assert fold(torch.arange(5.0)).tolist() == [2, 3, 4, -math.inf, 1, 0]
    assert fold(torch.arange(4.0)).tolist() == [2, 3, 1, 0]
    for count in (4, 5):
        logits = torch.randn(3, count)
        assert torch.equal(TwoHot(logits, symexp_bins(count)).logits, logits)


def _plain(logits: Tensor, target: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and cross entropy with a dense label, in float64 by the formulas of the paper."""
    logprobs, bins = logits.double().log_softmax(-1), bins.double()
    above = torch.searchsorted(bins, target.double(), right=True).clamp(1, len(bins) - 1)
    width = bins[above] - bins[above - 1]
    share = ((target - bins[above - 1]) / width).clamp(0, 1).unsqueeze(-1)
    one_hot = torch.nn.functional.one_hot
    label = share * one_hot(above, len(bins)) + (1 - share) * one_hot(above - 1, len(bins))
    return (logprobs.exp() * bins).sum(-1), -(label * logprobs).sum(-1)


@pytest.mark.parametrize("count", [41, 255])
def test_several_targets_share_one_pass(count: int) -> None:
    """Values, and gradients of a sum with weights, are those of the plain form."""
    bins = symexp_bins(count, 5.0)
    target = torch.randn(2, 6, 7) * torch.tensor([1.0, 60.0]).view(2, 1, 1)  # some beyond the bins
    target[0, 0, 0] = 0.0
    weight = torch.rand(2, 6, 7)
    values, gradients = [], []
    for form in ("ours", "plain"):
        logits = torch.randn(6, 7, count, generator=torch.Generator().manual_seed(0))
        logits.requires_grad_()
        if form == "ours":
            out = TwoHot(logits, bins)
            mean, loss = out.pred(), out.loss(target)
        else:
            mean, loss = _plain(logits, target, bins)
        values.append((mean, loss))
        gradients.append(torch.autograd.grad((loss * weight).sum() + mean.sum(), logits)[0])
    for ours, plain in zip(*values, strict=True):
        torch.testing.assert_close(ours.double(), plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_low_precision_logits_are_judged_in_float32() -> None:
    logits, target = torch.randn(9, 255).bfloat16().requires_grad_(), torch.randn(9)
    loss = TwoHot(logits, symexp_bins(255)).loss(target)
    assert torch.equal(loss, TwoHot(logits.detach().float(), symexp_bins(255)).loss(target))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.dtype == torch.bfloat16


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


@pytest.mark.parametrize("kind", [TwoHot, SymlogTwoHot])
def test_a_target_that_is_not_a_number_has_no_loss_that_is_one(kind: type[TwoHot]) -> None:
    logits = torch.zeros(2, 41, requires_grad=True)
    loss = kind(logits, symexp_bins(41)).loss(torch.tensor([math.nan, 1.0]))
    assert loss[0].isnan() and loss[1].isfinite()
    loss.sum().backward()
    assert logits.grad[0].isnan().any() and logits.grad[1].isfinite().all()


def test_no_targets_have_no_losses() -> None:
    assert TwoHot(torch.zeros(0, 41), symexp_bins(41)).loss(torch.zeros(0)).shape == (0,)
    assert TwoHot(torch.zeros(3, 41), symexp_bins(41)).loss(torch.zeros(0, 3)).shape == (0, 3)
