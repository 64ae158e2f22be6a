"""Scalar heads."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.heads import BinaryLayer, Head, MSELayer, NormalLayer, TwoHotLayer
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.ops.two_hot import SymlogTwoHot, TwoHot


@pytest.mark.parametrize("squashed", [False, True])
def test_a_zero_scaled_two_hot_head_predicts_exactly_zero(squashed: bool) -> None:
    head = Head(MLP(4, 2, 8), TwoHotLayer(8, 255, 0.0, squashed=squashed))
    assert torch.equal(head(torch.randn(2, 5, 4)).pred(), torch.zeros(2, 5))


@pytest.mark.parametrize("symlog", [False, True])
def test_scalar_outputs_have_the_batch_shape(symlog: bool) -> None:
    twohot = TwoHotLayer(8, 41, 1.0, squashed=symlog)
    for layer in (twohot, BinaryLayer(8, 1.0), MSELayer(8, 1.0, symlog), NormalLayer(8, 1.0)):
        out = Head(MLP(4, 1, 8), layer)(torch.randn(2, 5, 4))
        assert out.pred().shape == out.loss(torch.rand(2, 5)).shape == (2, 5)


def test_a_normal_head_pays_half_the_squared_error() -> None:
    head = Head(MLP(4, 1, 8), NormalLayer(8, 0.0, "avg"))
    assert head.layer.linear.fan == "avg"
    assert head(torch.randn(3, 4)).loss(torch.full((3,), 4.0)).tolist() == [8.0] * 3


def test_bins_move_with_the_module_but_are_not_saved() -> None:
    layer = TwoHotLayer(8, 41, 1.0)
    assert "bins" not in layer.state_dict()
    assert "bins" in dict(layer.named_buffers())


def test_the_space_of_the_bins_and_the_fan_are_chosen() -> None:
    raw, squashed = TwoHotLayer(8, 255, 1.0), TwoHotLayer(8, 255, 1.0, "avg", squashed=True)
    assert raw.bins[-1].item() == pytest.approx(math.exp(20) - 1)
    assert squashed.bins[-1].item() == 20.0
    assert (type(raw(torch.zeros(8))), type(squashed(torch.zeros(8)))) == (TwoHot, SymlogTwoHot)
    assert (raw.linear.fan, squashed.linear.fan) == ("in", "avg")


def test_bins_reach_as_far_as_they_are_told() -> None:
    raw, squashed = TwoHotLayer(8, 5, 1.0, limit=2), TwoHotLayer(8, 5, 1.0, squashed=True, limit=2)
    assert squashed.bins.tolist() == [-2, -1, 0, 1, 2]
    ends = [math.exp(2) - 1, math.e - 1]
    assert raw.bins.tolist() == pytest.approx([-ends[0], -ends[1], 0, ends[1], ends[0]])
    with pytest.raises(UsageError, match="bin_range of a two-hot head is 0"):
        TwoHotLayer(8, 5, 1.0, limit=0)
