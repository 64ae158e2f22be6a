"""Image nets without padding: sizes, parameters, what they refuse, and that they learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.layers import LayerNorm, Style
from dreamer_plugin.nets.vision_valid import GrowingConv, ValidImageDecoder, ValidImageEncoder

FIRST = Style(norm="none", act="elu", conv_act="relu", fan="glorot")


def decoder(
    size: tuple[int, int] = (64, 64), depths: tuple[int, ...] = (1, 2, 4, 32), **change: object
) -> ValidImageDecoder:
    return ValidImageDecoder(5, 6, size, 3, depths, style=FIRST, **change)


def _sides(stages: nn.Module, x: torch.Tensor) -> list[int]:
    sides = []
    for stage in stages:
        assert x.shape[2] == x.shape[3]
        sides.append(x.shape[2])
        x = stage(x)
    return [*sides, x.shape[2]]


def test_the_official_kernels_make_two_of_64_and_64_of_one() -> None:
    """Sizes as printed in the description of the first agent."""
    encoder = ValidImageEncoder((64, 64), 3, [1, 2, 4, 8], style=FIRST)
    assert _sides(encoder.stages, torch.rand(1, 3, 64, 64)) == [64, 31, 14, 6, 2]
    assert encoder(torch.rand(2, 64, 64, 3)).shape == (2, 2 * 2 * 8) == (2, encoder.out_features)
    net = decoder()
    stages = nn.Sequential(*net.stages, net.out)
    assert _sides(stages, torch.rand(1, 32, 1, 1)) == [1, 5, 13, 30, 64]
    images = net(torch.randn(2, 5), torch.randn(2, 6))
    assert images.shape == (2, 64, 64, 3) and images.is_contiguous()


@pytest.mark.parametrize(
    ("depth", "encoder_size", "decoder_size", "latent"),
    [
        # Weights and biases, layer by layer, of depth 32 and a latent state of 200 + 30.
        (
            32,
            (3 * 16 + 1) * 32 + (32 * 16 + 1) * 64 + (64 * 16 + 1) * 128 + (128 * 16 + 1) * 256,
            231 * 1024
            + (1024 * 128 * 25 + 128)
            + (128 * 64 * 25 + 64)
            + (64 * 32 * 36 + 32)
            + (32 * 3 * 36 + 3),
            (200, 30),
        ),
        # Of depth 48 and 600 + 32 * 32, with one channel.
        (
            48,
            (1 * 16 + 1) * 48 + (48 * 16 + 1) * 96 + (96 * 16 + 1) * 192 + (192 * 16 + 1) * 384,
            1625 * 1536
            + (1536 * 192 * 25 + 192)
            + (192 * 96 * 25 + 96)
            + (96 * 48 * 36 + 48)
            + (48 * 1 * 36 + 1),
            (600, 1024),
        ),
    ],
)
def test_parameters_by_hand(
    depth: int, encoder_size: int, decoder_size: int, latent: tuple[int, int]
) -> None:
    channels = 3 if depth == 32 else 1
    with torch.device("meta"):
        encoder = ValidImageEncoder((64, 64), channels, [depth * n for n in (1, 2, 4, 8)])
        plain = ValidImageEncoder(
            (64, 64), channels, [depth * n for n in (1, 2, 4, 8)], style=FIRST
        )
        net = ValidImageDecoder(
            *latent, (64, 64), channels, [depth * n for n in (1, 2, 4, 32)], style=FIRST
        )
    assert _count(plain) == encoder_size
    assert _count(encoder) == encoder_size + depth * (1 + 2 + 4 + 8)  # scales of the norms
    assert _count(net) == decoder_size
    assert plain.out_features == 32 * depth  # 1024 and 1536


def _count(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters())


def test_borders_are_not_padded() -> None:
    """Every filter sees the same of an even image, also at the borders."""
    torch.manual_seed(0)
    maps = ValidImageEncoder((46, 64), 1, [2, 2, 2, 2], style=FIRST).stages(
        torch.ones(1, 1, 46, 64)
    )
    assert maps.shape == (1, 2, 1, 2)
    assert torch.allclose(maps[..., 0], maps[..., 1]) and bool(maps.any())


def test_flattening_is_row_column_channel() -> None:
    net = ValidImageEncoder((6, 8), 1, [3], style=FIRST)
    image = torch.rand(1, 6, 8, 1)
    maps = net.stages((image - 0.5).permute(0, 3, 1, 2))  # N C h w
    assert maps.shape == (1, 3, 2, 3)
    assert torch.equal(net(image).reshape(2, 3, 3), maps[0].permute(1, 2, 0))


def test_a_pixel_grows_into_its_filter() -> None:
    """Two pixels, 1 and 10, two columns apart, each times the filter of ones; they overlap."""
    conv = GrowingConv(1, 1, 3)
    nn.init.ones_(conv.weight)
    out = conv(torch.tensor([[[[1.0, 10.0]]]]))
    assert out[0, 0].tolist() == [[1, 1, 11, 10, 10]] * 3


def test_filters_know_their_fans() -> None:
    torch.manual_seed(0)
    weight = GrowingConv(20, 60, 4, "glorot").weight / math.sqrt(6 / ((20 + 60) * 16))
    assert weight.shape == (20, 60, 4, 4) and 0.999 < weight.abs().max() <= 1.0001
    # Of 19200 draws: a standard deviation is off by 0.6 %.
    assert GrowingConv(20, 60, 4).weight.std().item() == pytest.approx(320**-0.5, rel=0.02)


def test_norms_and_activations_follow_every_stage_but_the_last() -> None:
    style = Style(norm="layer", act="elu", conv_act="relu", bias="unnormed")
    encoder = ValidImageEncoder((64, 64), 1, [1, 2, 4, 8], style=style)
    net = ValidImageDecoder(5, 6, (64, 64), 1, [1, 2, 4, 32], style=style)
    for stages, channels in ((encoder.stages, [1, 2, 4, 8]), (net.stages, [4, 2, 1])):
        for stage, width in zip(stages, channels, strict=True):
            assert type(stage.norm.norm) is LayerNorm and type(stage.norm.act) is nn.ReLU
            assert stage.norm.norm.weight.shape == (width,) and stage.conv.bias is None
    assert type(net.out) is GrowingConv and net.out.bias.shape == (1,)
    assert net.stem.bias.shape == (32,)


def test_zero_is_gray_and_a_sigmoid_may_bound_the_images() -> None:
    inputs, ones = (torch.randn(2, 5), torch.randn(2, 6)), torch.ones(2, 64, 64, 3)
    net, bounded = decoder(), decoder(sigmoid=True)
    nn.init.zeros_(net.out.weight)
    nn.init.zeros_(bounded.out.weight)
    assert torch.equal(net(*inputs), 0.5 * ones)
    nn.init.constant_(net.out.bias, 3.0)
    nn.init.constant_(bounded.out.bias, 3.0)
    assert torch.equal(net(*inputs), 3.5 * ones)
    assert torch.equal(bounded(*inputs), torch.sigmoid(3 * ones))


def test_images_are_float32_whatever_the_stages_are() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder()(torch.randn(2, 5), torch.randn(2, 6)).dtype == torch.float32


def test_a_linear_layer_may_follow_the_flattened_map() -> None:
    net = ValidImageEncoder((46, 46), 1, [1, 2, 2, 3], style=FIRST, embed_size=7)
    assert net(torch.rand(2, 46, 46, 1)).shape == (2, 7) == (2, net.out_features)
    assert net.embed.weight.shape == (7, 3) and net.embed.fan == "glorot"


def test_a_decoder_learns_one_image() -> None:
    """Two stages make 16x16. The mean color alone would leave the image's variance."""
    torch.manual_seed(0)
    net = ValidImageDecoder(4, 4, (16, 16), 3, [8, 32], style=FIRST)
    target = torch.rand(1, 16, 16, 3)
    deter, stoch = torch.randn(1, 4), torch.randn(1, 4)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        loss = (net(deter, stoch) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(bool(param.grad.any()) for param in net.parameters())
    assert loss < 0.1 * target.var()


@pytest.mark.parametrize(
    ("size", "near"), [((45, 64), "46x64"), ((8, 8), "46x46"), ((64, 3), "64x46")]
)
def test_an_encoder_names_the_least_size(size: tuple[int, int], near: str) -> None:
    """Of one pixel backwards: 1, 4, 10, 22, 46."""
    message = (
        f"image 'cam' of size {size[0]}x{size[1]} does not fit: 4 stages of kernel 4 without "
        f"padding need sides of 46 or more, such as {near}; set env.size"
    )
    with pytest.raises(UsageError, match=message):
        ValidImageEncoder(size, 3, [1, 1, 1, 1], key="cam")
    height, width = map(int, near.split("x"))
    assert ValidImageEncoder((height, width), 3, [1, 1, 1, 1]).out_features > 0


@pytest.mark.parametrize(
    ("stages", "size", "says"),
    [
        (4, (96, 96), r"5, 5, 6, 6 without padding make 64x64 \(3 stages 32x32, 5 stages 128x128"),
        (4, (64, 32), "5, 5, 6, 6 without padding make 64x64 "),
        (3, (64, 64), r"5, 6, 6 without padding make 32x32 \(2 stages 16x16, 4 stages 64x64\)"),
        (1, (64, 64), r"6 without padding make 6x6 \(2 stages 16x16\); set env.size, or another"),
    ],
)
def test_a_decoder_names_the_size_it_makes(stages: int, size: tuple[int, int], says: str) -> None:
    with pytest.raises(UsageError, match=rf"'cam' of size {size[0]}x.* stages of kernels {says}"):
        decoder(size, (1,) * stages, key="cam")


@pytest.mark.parametrize(
    ("stages", "kernel", "side"),
    # 1, 5, 13, 29, 62, 128; and with 3, 3, 4, 4: 1, 3, 7, 16, 34.
    [(1, 5, 6), (2, 5, 16), (3, 5, 32), (5, 5, 128), (4, 3, 34)],
)
def test_other_numbers_of_stages_make_what_is_said(stages: int, kernel: int, side: int) -> None:
    net = decoder((side, side), (1,) * stages, kernel=kernel)
    assert net(torch.randn(1, 5), torch.randn(1, 6)).shape == (1, side, side, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [({"outer": True}, "outer is true"), ({"residual": 2}, "residual is 2")],
)
def test_settings_without_a_meaning_are_refused(words: dict[str, int], said: str) -> None:
    name, off = said.split(" ")[0], {"outer": "false", "residual": "0"}
    with pytest.raises(UsageError) as caught:
        ValidImageEncoder((64, 64), 3, [1, 1, 1, 1], **words)
    assert str(caught.value) == (
        f"world.encoder.{said}, but stages of world.encoder.downsample=valid have no such thing: "
        f"set world.encoder.{name}={off[name]}"
    )
    with pytest.raises(UsageError, match=f"world.decoder.{said}, .* world.decoder.upsample=valid"):
        decoder(**words)
