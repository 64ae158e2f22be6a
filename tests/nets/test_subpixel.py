"""The fast form of doubling maps gives what the plain one gives: values and every gradient."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.nets.subpixel import fold, subpixel_conv
from dreamer_plugin.nets.vision import UpConv

from .. import tiny


def _run(conv, x, upwards):
    out = conv(x)
    given = [x, *conv.parameters()]
    return [out.detach(), *torch.autograd.grad((out.float() * upwards).sum(), given)]


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_plain_form(kernel, bias):
    torch.manual_seed(0)
    conv = UpConv(3, 4, kernel, bias=bias)
    x = torch.randn(2, 3, 4, 6).to(memory_format=torch.channels_last).requires_grad_()
    upwards = torch.randn(2, 4, 8, 12)
    plain = _run(conv, x, upwards)
    conv.fast = subpixel_conv
    for fast, expected in zip(_run(conv, x, upwards), plain, strict=True):
        assert torch.allclose(fast, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_taps_that_see_one_pixel_are_added():
    """The table at the head of the file, by hand, along rows; columns have only a middle tap."""
    weight = torch.zeros(1, 1, 5, 5)
    weight[0, 0, :, 2] = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    folded = fold(weight).view(2, 2, 3, 3)  # row place, column place, rows, columns
    assert torch.equal(folded[0, 0, :, 1], torch.tensor([3.0, 12.0, 16.0]))
    assert torch.equal(folded[1, 0, :, 1], torch.tensor([1.0, 6.0, 24.0]))
    assert not folded[:, :, :, 0].any() and not folded[:, :, :, 2].any()


def test_compiles_without_a_break():
    conv = UpConv(2, 3, 5)
    conv.fast = subpixel_conv
    x = torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last)
    assert conv(x).is_contiguous(memory_format=torch.channels_last)  # as what follows expects
    with torch.autocast("cpu", torch.bfloat16):
        compiled = torch.compile(conv, backend="aot_eager", fullgraph=True)(x)
        assert torch.allclose(compiled.float(), conv(x).float(), atol=1e-2)


def test_an_agent_is_built_with_it():
    layers = [m for m in tiny.image_agent().world.decoder.modules() if isinstance(m, UpConv)]
    assert len(layers) == 4
    assert all(layer.fast is subpixel_conv for layer in layers)


def test_in_bfloat16_taps_are_added_in_float32():
    torch.manual_seed(0)
    weight = torch.randn(2, 3, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fold(weight), fold(weight.clone()))
        assert fold(weight).dtype == torch.float32
