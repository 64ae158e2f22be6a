"""Image nets: sizes, paddings, ties, and errors that name the key."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.layers import Style
from dreamer_plugin.nets.vision import (
    Conv,
    ConvStage,
    ImageDecoder,
    ImageEncoder,
    TransposedConv,
    max_pool,
)


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (48, 64), (256, 48)])
@pytest.mark.parametrize("downsample", ["pool", "stride"])
def test_encoder_ends_in_h_times_w_times_depth(size: tuple[int, int], downsample: str) -> None:
    net = ImageEncoder(size, 3, [2, 3, 4, 4], downsample=downsample)
    out = net(torch.rand(2, *size, 3))
    assert out.shape == (2, size[0] // 16 * (size[1] // 16) * 4) == (2, net.out_features)


def test_a_linear_layer_may_follow_the_flattened_map() -> None:
    """Three rows of four features of one linear map of 2 * 3 * 3 numbers, drawn after the rest."""
    nets = []
    for size in (0, 4):
        torch.manual_seed(0)
        nets.append(ImageEncoder((6, 6), 1, [2], style=Style(fan="glorot"), embed_size=size))
    plain, net = nets
    image, embed = torch.rand(3, 6, 6, 1), net.embed
    torch.nn.init.normal_(embed.bias)
    assert net(image).shape == (3, 4) == (3, net.out_features)
    assert torch.allclose(net(image), plain(image) @ embed.weight.T + embed.bias, atol=1e-6)
    assert embed.weight.abs().max() <= math.sqrt(6 / (18 + 4)) and embed.fan == "glorot"
    assert plain.embed is None and plain.out_features == 18
    with pytest.raises(UsageError, match="world.encoder.embed_size is -1; 0 is for no"):
        ImageEncoder((6, 6), 1, [2], embed_size=-1)


@pytest.mark.parametrize("upsample", ["nearest", "transposed"])
@pytest.mark.parametrize("outer", [False, True])
def test_decoder_gives_images_between_zero_and_one(upsample: str, outer: bool) -> None:
    net = ImageDecoder(8, 6, (24, 32), 3, [4, 8, 8], 5, blocks=2, upsample=upsample, outer=outer)
    out = net(torch.randn(2, 8), torch.randn(2, 6))
    assert out.shape == (2, 24, 32, 3)
    assert 0 < out.min() and out.max() < 1


def test_flattening_is_row_column_channel() -> None:
    net = ImageEncoder((6, 12), 1, [2])
    out = net(torch.rand(1, 6, 12, 1))
    stages = net.stages(torch.zeros(1, 1, 6, 12))
    assert stages.shape == (1, 2, 3, 6)
    image = torch.rand(1, 6, 12, 1)
    maps = net.stages((image - 0.5).permute(0, 3, 1, 2))  # N C h w
    assert out.shape == (1, 36)
    assert torch.allclose(net(image).reshape(3, 6, 2), maps[0].permute(1, 2, 0))


@pytest.mark.parametrize("size", [(65, 64), (32, 64), (64, 272)])
@pytest.mark.parametrize("make", [ImageEncoder, None])
def test_sizes_that_do_not_fit_name_the_key(size: tuple[int, int], make: type | None) -> None:
    with pytest.raises(ValueError, match=f"image 'cam' of size {size[0]}x{size[1]} does not fit"):
        if make is not None:
            ImageEncoder(size, 3, [2, 3, 4, 4], key="cam")
        else:
            ImageDecoder(8, 6, size, 3, [2, 3, 4, 8], 5, key="cam")


@pytest.mark.parametrize(
    ("size", "near"),
    [((84, 84), "80x80"), ((16, 20), "48x48"), ((600, 90), "256x96")],  # 16 * (3..16) per side
)
def test_a_size_that_fits_is_named(size: tuple[int, int], near: str) -> None:
    with pytest.raises(UsageError, match=f"multiple of 16 from 48 to 256, such as {near}; set env"):
        ImageEncoder(size, 3, [2, 3, 4, 4], key="cam")
    height, width = map(int, near.split("x"))
    assert ImageEncoder((height, width), 3, [2, 3, 4, 4]).out_features > 0


@pytest.mark.parametrize("word", ["downsample", "upsample"])
def test_unknown_ways_name_the_valid_ones(word: str) -> None:
    with pytest.raises(ValueError, match=rf"Unknown world\.\w+\.{word} 'maxpol'.* Valid: "):
        if word == "downsample":
            ImageEncoder((64, 64), 3, [2], downsample="maxpol")
        else:
            ImageDecoder(8, 6, (64, 64), 3, [8, 8, 8], 5, upsample="maxpol")


def test_tied_maxima_share_the_gradient() -> None:
    x = torch.ones(1, 1, 2, 2, requires_grad=True)
    max_pool(x).sum().backward()
    assert torch.equal(x.grad, torch.full((1, 1, 2, 2), 0.25))


def test_pooling_takes_the_maximum_of_each_square() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert max_pool(x).flatten().tolist() == [5, 7, 13, 15]


def test_stride_two_pads_one_more_after_than_before() -> None:
    conv = Conv(1, 1, 5, stride=2)
    torch.nn.init.zeros_(conv.weight)
    conv.weight.data[0, 0, 1, 1] = 1.0  # picks the element at its own place, given one pad before
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert conv(x).flatten().tolist() == [0, 2, 8, 10]


def test_transposed_data_sit_on_odd_indices() -> None:
    conv = TransposedConv(1, 1, 5)
    torch.nn.init.zeros_(conv.weight)
    conv.weight.data[0, 0, 2, 2] = 1.0  # the identity
    out = conv(torch.tensor([[[[1.0, 2], [3, 4]]]]))
    expected = [[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]]
    assert out[0, 0].tolist() == expected


def test_exported_stages_have_no_operator_of_ours():
    """Runtimes without this package are to load what is exported."""
    stage = ConvStage(Conv(3, 4, 3), pool=True)
    x = torch.randn(2, 3, 8, 8)
    exported = torch.export.export(stage, (x,))
    assert "dreamer_plugin" not in str(exported.graph)
    torch.testing.assert_close(exported.module()(x), stage(x))
