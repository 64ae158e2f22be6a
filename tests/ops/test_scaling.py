"""Scalar transforms and bins."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.ops.scaling import linear_bins, saturate, symexp, symexp_bins, symlog


def test_symlog_by_hand() -> None:
    x = torch.tensor([0.0, math.e - 1, 1 - math.e])
    assert torch.allclose(symlog(x), torch.tensor([0.0, 1.0, -1.0]))


def test_symexp_inverts_symlog_relatively() -> None:
    x = torch.logspace(-6, 8, 60)
    x = torch.cat([-x, x])
    assert ((symexp(symlog(x)) - x).abs() <= 5e-6 * x.abs()).all()  # float32 through exp(20)


@pytest.mark.parametrize("count", [3, 4, 40, 41, 255])
def test_bins_are_mirrored_exactly_and_ascend(count: int) -> None:
    bins = symexp_bins(count)
    assert torch.equal(bins, -bins.flip(0))
    assert (bins.diff() >= 0).all()
    assert (bins == 0).sum() == (1 if count % 2 else 2)
    assert bins[-1].item() == pytest.approx(math.exp(20) - 1, rel=1e-6)


def test_too_few_bins_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        symexp_bins(1)


def test_saturate_clips_elements_with_the_gradient_of_scaling() -> None:
    x = torch.tensor([0.5, -4.0, 1.0, 2.0], requires_grad=True)
    y = saturate(x)
    y.sum().backward()
    assert torch.equal(y, torch.tensor([0.5, -1.0, 1.0, 1.0]))
    assert torch.equal(x.grad, torch.tensor([1.0, 0.25, 1.0, 0.5]))


def test_linear_bins_are_even_and_exactly_mirrored() -> None:
    """255 bins on -20..20 are 40 / 254 apart."""
    bins = linear_bins(255)
    assert (bins[0].item(), bins[127].item(), bins[-1].item()) == (-20.0, 0.0, 20.0)
    assert torch.equal(bins, -bins.flip(0))
    assert torch.allclose(bins.diff(), torch.full((254,), 40 / 254), atol=1e-5)
