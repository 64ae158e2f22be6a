"""Scalar heads."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.nets.heads import BinaryLayer, Head, MSELayer, TwoHotLayer
from dreamer_plugin.nets.layers import MLP


def test_a_zero_scaled_two_hot_head_predicts_exactly_zero() -> None:
    head = Head(MLP(4, 2, 8), TwoHotLayer(8, 255, 0.0))
    assert torch.equal(head(torch.randn(2, 5, 4)).pred(), torch.zeros(2, 5))


@pytest.mark.parametrize("symlog", [False, True])
def test_scalar_outputs_have_the_batch_shape(symlog: bool) -> None:
    for layer in (TwoHotLayer(8, 41, 1.0), BinaryLayer(8, 1.0), MSELayer(8, 1.0, symlog)):
        out = Head(MLP(4, 1, 8), layer)(torch.randn(2, 5, 4))
        assert out.pred().shape == out.loss(torch.rand(2, 5)).shape == (2, 5)


def test_bins_move_with_the_module_but_are_not_saved() -> None:
    layer = TwoHotLayer(8, 41, 1.0)
    assert "bins" not in layer.state_dict()
    assert "bins" in dict(layer.named_buffers())
