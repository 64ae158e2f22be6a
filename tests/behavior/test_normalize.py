"""Running normalisers."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.behavior.normalize import Identity, MeanStd, Percentile


@pytest.mark.parametrize("count", [1, 2, 37, 1000])
def test_percentiles_are_those_of_torch(count: int) -> None:
    x = torch.randn(count) * 10
    norm = Percentile(rate=1.0, low=5.0, high=95.0, limit=0.0)
    offset, scale = norm(x)
    expected = torch.quantile(x, torch.tensor([0.05, 0.95]))
    assert torch.allclose(offset, expected[0], atol=1e-5)
    assert torch.allclose(offset + scale, expected[1], atol=1e-5)


def test_averages_start_at_zero_without_correction() -> None:
    norm = Percentile(rate=0.01)
    x = torch.linspace(0, 1000, 101)  # percentiles 50 and 950
    assert norm(x)[1].item() == pytest.approx(9.0)  # .01 * (950 - 50)
    assert norm(x)[1].item() == pytest.approx(9.0 + 0.99 * 9.0)


def test_correction_gives_the_first_batch_whole() -> None:
    norm = Percentile(rate=0.01, debias=True)
    assert norm(torch.linspace(0, 1000, 101))[1].item() == pytest.approx(900.0, rel=1e-4)


def test_the_scale_has_a_floor() -> None:
    assert Percentile(rate=1.0)(torch.full((10,), 3.0))[1].item() == 1.0
    assert MeanStd(rate=1.0)(torch.full((10,), 3.0))[1].item() <= 1e-3


def test_mean_and_deviation() -> None:
    norm = MeanStd(rate=0.5, debias=True)
    x = torch.tensor([1.0, 3.0])
    norm(x)
    offset, scale = norm(x)
    assert offset.item() == pytest.approx(2.0) and scale.item() == pytest.approx(1.0)


def test_identity() -> None:
    assert [t.item() for t in Identity()(torch.randn(3))] == [0.0, 1.0]


def test_reading_does_not_move_and_takes_no_gradient() -> None:
    norm = Percentile()
    x = torch.randn(10, requires_grad=True)
    offset, scale = norm(x)
    assert not offset.requires_grad and not scale.requires_grad
    before = norm.stats()
    assert torch.equal(torch.stack(before), torch.stack(norm.stats()))


def test_what_was_returned_is_not_changed_by_the_next_batch() -> None:
    norm = Percentile(rate=1.0, limit=0.0)
    offset, _ = norm(torch.arange(11.0))
    kept = offset.item()
    norm(torch.arange(11.0) + 100)
    assert offset.item() == kept


def test_averages_are_saved() -> None:
    norm = Percentile()
    norm(torch.randn(10))
    other = Percentile()
    other.load_state_dict(norm.state_dict())
    assert torch.equal(torch.stack(other.stats()), torch.stack(norm.stats()))
