"""Variants of the image nets: residual blocks, one linear stem, no squashing at the end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dreamer_plugin.nets.codec import ImageOutput
from dreamer_plugin.nets.layers import LayerNorm, RMSNorm, Style
from dreamer_plugin.nets.vision import ImageDecoder, ImageEncoder, LinearStemDecoder, Residual

LAYER = Style(norm="layer", fan="avg")


def _moved(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for param in module.parameters():
            param.add_(0.1 * torch.randn_like(param))
    return module


def test_a_residual_block_adds_to_its_input() -> None:
    torch.manual_seed(0)
    block, x = Residual(3), torch.randn(2, 3, 4, 6)
    assert block(x).shape == x.shape and not torch.equal(block(x), x)
    last = block.convs[-1]
    torch.nn.init.zeros_(last.weight)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("residual", [0, 2])
def test_strides_halve_four_times_with_residual_blocks_between(residual: int) -> None:
    size = (64, 48)
    net = ImageEncoder(size, 3, [2, 4, 8, 16], 4, "stride", style=LAYER, residual=residual)
    out = _moved(net)(torch.rand(2, *size, 3))
    assert out.shape == (2, 4 * 3 * 16) == (2, net.out_features)
    blocks = [m for m in net.modules() if isinstance(m, Residual)]
    assert len(blocks) == 4 * residual
    assert all(m.pool is False for m in net.stages if hasattr(m, "pool"))
    out.sum().backward()
    assert all(bool(p.grad.any()) for p in net.parameters())


@pytest.mark.parametrize("residual", [0, 1])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_a_linear_stem_sees_all_of_the_state_at_once(residual: int, sigmoid: bool) -> None:
    torch.manual_seed(0)
    net = LinearStemDecoder(
        5, 6, (24, 32), 3, [2, 4, 8], 7, 8, 4, "transposed",
        style=LAYER, residual=residual, sigmoid=sigmoid,
    )  # fmt: skip
    _moved(net)
    out = net(torch.randn(2, 5), torch.randn(2, 6))
    assert out.shape == (2, 24, 32, 3)
    assert net.stem.weight.shape == (3 * 4 * 8, 5 + 6)
    assert sum(isinstance(m, Residual) for m in net.modules()) == 3 * residual
    norms = {type(m) for m in net.modules() if isinstance(m, LayerNorm | RMSNorm)}
    assert norms == {LayerNorm}
    out.square().sum().backward()
    assert all(bool(p.grad.any()) for p in net.parameters())


@pytest.mark.parametrize("make", [ImageDecoder, LinearStemDecoder])
def test_without_sigmoid_zero_is_gray_and_nothing_bounds_it(make: type[ImageDecoder]) -> None:
    net = make(8, 6, (16, 16), 1, [4, 8], 5, blocks=2, sigmoid=False)
    torch.nn.init.zeros_(net.out.weight)
    inputs = torch.randn(2, 8), torch.randn(2, 6)
    assert torch.equal(net(*inputs), torch.full((2, 16, 16, 1), 0.5))
    net.out.bias.data.fill_(3.0)
    assert torch.equal(net(*inputs), torch.full((2, 16, 16, 1), 3.5))


@pytest.mark.parametrize("residual", [0, 1])
def test_feature_maps_may_have_an_activation_of_their_own(residual: int) -> None:
    """Vectors keep theirs: in the decoder the layer between the stochastic state and the map."""
    style = Style(act="elu", conv_act="relu")
    encoder = ImageEncoder((16, 16), 1, [4, 8], style=style, residual=residual)
    decoder = ImageDecoder(8, 6, (16, 16), 1, [4, 8], 5, blocks=2, style=style, residual=residual)
    # Each block has two; a stack of blocks ends in one more.
    assert _activations(encoder) == [nn.ReLU] * (2 + 4 * residual + residual)
    of_vectors, of_maps = _activations(decoder.from_stoch), [nn.ReLU] * (2 + 4 * residual)
    assert of_vectors == [nn.ELU]
    assert sorted(_activations(decoder), key=str) == sorted(of_vectors + of_maps, key=str)
    assert _activations(ImageEncoder((16, 16), 1, [4, 8], style=Style(act="elu"))) == [nn.ELU] * 2


def _activations(module: nn.Module) -> list[type[nn.Module]]:
    kinds = (nn.SiLU, nn.ELU, nn.ReLU)
    return [type(part) for part in module.modules() if isinstance(part, kinds)]


def test_image_loss_takes_predictions_beyond_one() -> None:
    """Two pixels, white and black, both predicted as 1.5: 0.5^2 + 1.5^2."""
    target = torch.tensor([255, 0], dtype=torch.uint8).reshape(1, 2, 1, 1)
    assert ImageOutput(torch.full((1, 2, 1, 1), 1.5)).loss(target).item() == 2.5
