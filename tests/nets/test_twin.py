"""The slow copy."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.nets.layers import Linear
from dreamer_plugin.nets.twin import SlowCopy


def _pair(rate: float, every: int = 1) -> tuple[Linear, SlowCopy]:
    source = Linear(2, 1)
    slow = SlowCopy(source, rate, every)
    with torch.no_grad():
        source.weight.fill_(1.0)
        slow.copy.weight.fill_(0.0)
    return source, slow


def test_it_moves_by_the_rate() -> None:
    source, slow = _pair(0.25)
    moved = []
    for update in range(3):
        assert slow.due(update)
        slow.follow(source)
        moved.append(slow.copy.weight[0, 0].item())
    assert moved == pytest.approx([0.25, 0.4375, 0.578125])


def test_it_moves_every_few_updates_and_rate_one_copies() -> None:
    source, slow = _pair(1.0, every=3)
    seen = []
    for update in range(4):
        source.weight.data.fill_(update + 1.0)
        if slow.due(update):
            slow.follow(source)
        seen.append(slow.copy.weight[0, 0].item())
    assert seen == [1.0, 1.0, 1.0, 4.0]


def test_it_starts_as_a_copy_and_takes_no_gradient() -> None:
    source = Linear(2, 1)
    slow = SlowCopy(source, 0.5)
    x = torch.randn(3, 2)
    assert torch.equal(slow(x), source(x))
    assert not slow(x).requires_grad
    assert list(slow.parameters())[0] is not list(source.parameters())[0]


@pytest.mark.parametrize(("rate", "every"), [(0.0, 1), (1.5, 1), (0.5, 0)])
def test_senseless_numbers_are_refused(rate: float, every: int) -> None:
    with pytest.raises(ValueError, match=f"got {rate}, {every}"):
        SlowCopy(Linear(2, 1), rate, every)
