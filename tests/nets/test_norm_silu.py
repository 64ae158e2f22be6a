"""Norm and activation in pieces give what the layers give: values and gradients."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.nets import norm_silu as pieces
from dreamer_plugin.nets.layers import Style
from dreamer_plugin.nets.vision import ChannelNorm


def _run(module, x, upstream):
    out = module(x)
    return [out.detach(), *torch.autograd.grad(out, [x, *module.parameters()], upstream)]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)],  # the plain form rounds before the activation
)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 8, 20])  # of 48 rows 16, 8, 4 side by side, 1
def test_values_and_gradients_are_those_of_the_layers(
    monkeypatch, dtype, tolerance, channels_last, channels
):
    monkeypatch.setattr(pieces, "_PIECE", 100)  # of 2 * 4 * 6 * channels numbers
    torch.manual_seed(0)
    module = ChannelNorm(channels)
    torch.nn.init.normal_(module.norm.weight)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(2, channels, 4, 6).to(dtype).contiguous(memory_format=layout).requires_grad_()
    upstream = torch.randn(2, channels, 4, 6).to(dtype)
    assert module.in_pieces
    fast = _run(module, x, upstream)
    module.in_pieces = False
    plain = _run(module, x, upstream)
    for ours, expected in zip(fast, plain, strict=True):
        assert ours.dtype == expected.dtype
        assert (ours - expected).abs().max() <= tolerance * expected.abs().max()


def test_rows_in_any_layout_and_none():
    """Whole rows are written where the caller finds them, whatever the strides that came in."""
    columns, scale = torch.randn(8, 48), torch.rand(8)
    odd, plain = columns.t(), columns.t().contiguous()
    assert pieces._forward(odd, scale, 1e-4).equal(pieces._forward(plain, scale, 1e-4))
    for ours, expected in zip(
        pieces._backward(odd, scale, odd, 1e-4),
        pieces._backward(plain, scale, plain, 1e-4),
        strict=True,
    ):
        assert ours.equal(expected)
    assert pieces._forward(plain[:0], scale, 1e-4).shape == (0, 8)


@pytest.mark.parametrize("style", [Style(norm="layer"), Style(act="elu"), Style(conv_act="relu")])
def test_other_styles_take_the_layers(style):
    assert not ChannelNorm(5, style).in_pieces


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiler_is_handed_the_layers(monkeypatch, dtype):
    torch.manual_seed(0)
    module = ChannelNorm(4)
    x, upstream = torch.randn(2, 1, 4, 2, 2).to(dtype).requires_grad_()
    module.in_pieces = False
    plain = _run(module, x, upstream)
    module.in_pieces = True
    monkeypatch.setattr(pieces, "_forward", None)
    traced = _run(torch.compile(module, backend="aot_eager", fullgraph=True), x, upstream)
    for ours, expected in zip(traced, plain, strict=True):
        assert ours.equal(expected)


def test_reduced_precision_around_it_does_not_reach_the_means():
    rows, scale = torch.randn(48, 8), torch.randn(8)
    alone = pieces._forward(rows, scale, 1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert pieces._forward(rows, scale, 1e-4).equal(alone)
