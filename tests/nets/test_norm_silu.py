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
def test_values_and_gradients_are_those_of_the_layers(monkeypatch, dtype, tolerance, channels_last):
    monkeypatch.setattr(pieces, "_PIECE", 20)  # of 2 * 4 * 6 rows
    torch.manual_seed(0)
    module = ChannelNorm(5)
    torch.nn.init.normal_(module.norm.weight)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(2, 5, 4, 6).to(dtype).contiguous(memory_format=layout).requires_grad_()
    upstream = torch.randn(2, 5, 4, 6).to(dtype)
    assert module.in_pieces
    fast = _run(module, x, upstream)
    module.in_pieces = False
    plain = _run(module, x, upstream)
    for ours, expected in zip(fast, plain, strict=True):
        assert ours.dtype == expected.dtype
        assert (ours - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("style", [Style(norm="layer"), Style(act="elu"), Style(conv_act="relu")])
def test_other_styles_take_the_layers(style):
    assert not ChannelNorm(5, style).in_pieces


def test_compiles_without_a_break():
    compiled = torch.compile(ChannelNorm(4), backend="aot_eager", fullgraph=True)
    x = torch.randn(1, 4, 2, 2, requires_grad=True)
    compiled(x).sum().backward()
    assert x.grad.isfinite().all()


def test_what_a_compiler_is_told_of_the_operators_is_true():
    rows, scale = torch.randn(48, 5), torch.randn(5)
    known = ("test_schema", "test_faketensor")
    torch.library.opcheck(pieces._forward, (rows, scale, 1e-4), test_utils=known)
    given = (rows, scale, torch.randn(48, 5), 1e-4)
    torch.library.opcheck(pieces._backward, given, test_utils=known)
