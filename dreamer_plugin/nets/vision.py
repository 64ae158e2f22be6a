"""Image encoder and decoder.

Images come as uint8 `[..., H, W, C]`; inside, convolutions run on `[N, C, H, W]` in channels-last
memory; feature maps are flattened in (h, w, c) order. Source: `dreamerv3/rssm.py`, Encoder and
Decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.layers import (
    OFFICIAL,
    BlockLinear,
    Linear,
    RMSNorm,
    Style,
    Unit,
    init_weight,
)
from dreamer_plugin.nets.norm_silu import norm_silu
from dreamer_plugin.nets.pool import max_pool


def init_filters(conv: nn.Conv2d | nn.ConvTranspose2d, fan: str) -> None:
    """Draw the weights anew, in place, each connecting all that one filter sees; zero the bias."""
    area = conv.kernel_size[0] * conv.kernel_size[1]
    init_weight(conv.weight, conv.in_channels * area, conv.out_channels * area, fan)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class Conv(nn.Conv2d):
    """Same-size convolution with the project's initialisation; `stride` 2 halves even sizes.

    An odd padding is one more after than before, as XLA's SAME; without `pad` there is none, and
    only whole filters count. `fan` is of `init_weight`.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int,
        stride: int = 1,
        fan: str = "in",
        bias: bool = True,
        pad: bool = True,
    ) -> None:
        self.fan = fan
        total = kernel - stride if pad else 0
        super().__init__(cin, cout, kernel, stride, padding=total // 2, bias=bias)
        self.odd = total % 2

    def reset_parameters(self) -> None:
        """Draw the weights anew; zero the bias."""
        init_filters(self, self.fan)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, cin, H, W] -> [N, cout, H/stride, W/stride]`."""
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.odd else x)


class UpConv(Conv):
    """Doubles the size: nearest neighbour, then a convolution.

    Attributes:
        fast: another form of the same; builders may put one here, `nets/subpixel.py` has one.
    """

    fast: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`[N, cin, H, W] -> [N, cout, 2H, 2W]`."""
        if self.fast is not None:
            return self.fast(x, self.weight, self.bias)
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class TransposedConv(Conv):
    """Doubles the size: zeros are interleaved, data on odd indices, then a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """`[N, cin, H, W] -> [N, cout, 2H, 2W]`."""
        n, c, h, w = x.shape
        wide = x.new_zeros(n, c, h, 2, w, 2)
        wide[:, :, :, 1, :, 1] = x
        return super().forward(wide.reshape(n, c, 2 * h, 2 * w))


_HALVINGS = {"pool": (1, True), "stride": (2, False)}  # stride, whether the maximum is taken
_DOUBLINGS: dict[str, type[Conv]] = {"nearest": UpConv, "transposed": TransposedConv}


class ChannelNorm(nn.Module):
    """Norm over channels, then the activation, of feature maps `[N, C, H, W]`.

    Attributes:
        in_pieces: whether `nets/norm_silu.py` does both on a CPU, except for compilers.
    """

    def __init__(self, channels: int, style: Style = OFFICIAL) -> None:
        super().__init__()
        self.norm, self.act = style.make_norm(channels), style.make_conv_act()
        self.in_pieces = isinstance(self.norm, RMSNorm) and isinstance(self.act, nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W] -> [N, C, H, W]`."""
        rows = x.permute(0, 2, 3, 1)
        if self.in_pieces and x.device.type == "cpu" and not torch.compiler.is_compiling():
            rows = norm_silu(rows, cast(Tensor, self.norm.weight), cast(float, self.norm.eps))
        else:
            rows = self.act(self.norm(rows))
        return rows.permute(0, 3, 1, 2)


class ConvStage(nn.Module):
    """Convolution -> optional 2x2 pooling -> norm -> activation."""

    def __init__(
        self, conv: Conv | nn.ConvTranspose2d, pool: bool = False, style: Style = OFFICIAL
    ) -> None:
        super().__init__()
        self.conv, self.pool = conv, pool
        self.norm = ChannelNorm(conv.out_channels, style)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, cin, H, W] -> [N, cout, H', W']`."""
        x = self.conv(x)
        normed: Tensor = self.norm(max_pool(x) if self.pool else x)
        return normed


class Residual(nn.Module):
    """Adds two convolutions of kernel 3, each after norm and activation, to its input."""

    def __init__(self, channels: int, style: Style = OFFICIAL) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ChannelNorm(channels, style),
            Conv(channels, channels, 3, fan=style.fan),
            ChannelNorm(channels, style),
            Conv(channels, channels, 3, fan=style.fan),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W] -> [N, C, H, W]`."""
        added: Tensor = x + self.convs(x)
        return added


def halved(size: tuple[int, int], stages: int, key: str) -> tuple[int, int]:
    """Size of the map after `stages` halvings.

    Raises:
        UsageError: naming the key and the nearest size, if such a map is of no use.
    """
    factor = 2**stages
    out = (size[0] // factor, size[1] // factor)
    if any(s % factor for s in size) or not all(3 <= s <= 16 for s in out):
        near = [min(max(round(s / factor), 3), 16) * factor for s in size]
        raise UsageError(
            f"image {key!r} of size {size[0]}x{size[1]} does not fit: {stages} halvings must "
            f"end in 3..16 pixels and leave no remainder, so each side must be a multiple of "
            f"{factor} from {3 * factor} to {16 * factor}, such as {near[0]}x{near[1]}; "
            "set env.size, or resize the image in your own env"
        )
    return out


class MapEncoder(nn.Module):
    """Images through feature maps to one vector.

    Args:
        stages: from `[N, C, H, W]` to the smallest maps. features: numbers in one of those, all
            channels together. embed_size: width of a linear layer after them, 0 for none.
        fan: of that layer's initial weights.

    Attributes:
        out_features: length of the vector.
    """

    def __init__(
        self, stages: Sequence[nn.Module], features: int, embed_size: int = 0, fan: str = "in"
    ) -> None:
        super().__init__()
        if embed_size < 0:
            raise UsageError(f"world.encoder.embed_size is {embed_size}; 0 is for no such layer")
        self.stages = nn.Sequential(*stages)
        self.embed = Linear(features, embed_size, fan=fan) if embed_size else None
        self.out_features = embed_size or features

    def forward(self, image: Tensor) -> Tensor:
        """`[N, H, W, C]` in [0, 1] `-> [N, out_features]`."""
        x = (image - 0.5).permute(0, 3, 1, 2)  # channels-last memory already
        x = self.stages(x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return x if self.embed is None else self.embed(x)


class ImageEncoder(MapEncoder):
    """Stages of convolution -> halving -> norm -> activation, flattened to one vector.

    Args:
        size: `(H, W)` of the images. channels: of all images together.
        depths: channels of each stage. kernel: side of the filters.
        downsample: `"pool"` (stride 1, then 2x2 maximum) or `"stride"`.
        outer: the first stage does not halve.
        key: name for errors. style: of the stages.
        residual: `Residual` blocks after each stage; with any, an activation ends the stack.
        embed_size: as in `MapEncoder`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: int,
        depths: Sequence[int],
        kernel: int = 5,
        downsample: str = "pool",
        outer: bool = False,
        key: str = "image",
        style: Style = OFFICIAL,
        residual: int = 0,
        embed_size: int = 0,
    ) -> None:
        halving = choose(_HALVINGS, downsample, "world.encoder.downsample")
        if kernel < halving[0]:
            raise UsageError(
                f"world.encoder.kernel is {kernel}, but downsample={downsample} moves by "
                f"{halving[0]} pixels: set {halving[0]} or more, or downsample=pool"
            )
        h, w = halved(size, len(depths) - outer, key)
        stages: list[nn.Module] = []
        for i, (cin, cout) in enumerate(zip([channels, *depths], depths, strict=False)):
            stride, pool = (1, False) if outer and i == 0 else halving
            conv = Conv(cin, cout, kernel, stride, style.fan, style.bias_under_norm)
            stages.append(ConvStage(conv, pool, style))
            stages += [Residual(cout, style) for _ in range(residual)]
        if residual:
            stages.append(style.make_conv_act())
        super().__init__(stages, h * w * depths[-1], embed_size, style.fan)


class MapDecoder(nn.Module):
    """From a smallest map through stages to images.

    Args:
        sigmoid: images are squashed into [0, 1]; else the output layer's zero is medium gray and
            nothing bounds it.

    Attributes:
        stages: they enlarge the map. out: makes images of the last.
    """

    stages: nn.Sequential
    out: nn.Module

    def __init__(self, sigmoid: bool) -> None:
        super().__init__()
        self.sigmoid = sigmoid

    def forward(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """`[N, D], [N, S*K] -> [N, H, W, C]`."""
        x = self.out(self.stages(self.smallest(deter, stoch))).float()
        x = torch.sigmoid(x) if self.sigmoid else x + 0.5
        return x.permute(0, 2, 3, 1)

    def smallest(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """`[N, D], [N, S*K] -> [N, c, h, w]`."""
        raise NotImplementedError


class ImageDecoder(MapDecoder):
    """From the latent state to images.

    The recurrent state enters through a block-linear layer whose blocks become channel groups, the
    stochastic state through a two-layer MLP; their sum is the smallest map.

    Args:
        deter, stoch: sizes of the two inputs. size: `(H, W)`. channels: of all images together.
        depths: as in the encoder. units: half the width of the layer on the stochastic state.
        blocks: channel groups of the smallest map. kernel, upsample (`"nearest"` or
        `"transposed"`), outer, key, style: as in `ImageEncoder`.
        residual: `Residual` blocks before each stage. sigmoid: as in `MapDecoder`.
    """

    def __init__(
        self,
        deter: int,
        stoch: int,
        size: tuple[int, int],
        channels: int,
        depths: Sequence[int],
        units: int,
        blocks: int = 8,
        kernel: int = 5,
        upsample: str = "nearest",
        outer: bool = False,
        key: str = "image",
        style: Style = OFFICIAL,
        residual: int = 0,
        sigmoid: bool = True,
    ) -> None:
        super().__init__(sigmoid)
        make = choose(_DOUBLINGS, upsample, "world.decoder.upsample")
        h, w = halved(size, len(depths) - outer, key)
        self.map = (h, w, depths[-1])
        self._make_stem(deter, stoch, units, blocks, style)
        stages: list[nn.Module] = []
        widths = list(depths)[::-1]
        for cin, cout in zip(widths, widths[1:], strict=False):
            stages += [Residual(cin, style) for _ in range(residual)]
            conv = make(cin, cout, kernel, fan=style.fan, bias=style.bias_under_norm)
            stages.append(ConvStage(conv, style=style))
        stages += [Residual(depths[0], style) for _ in range(residual)]
        self.stages = nn.Sequential(*stages)
        self.out = (Conv if outer else make)(depths[0], channels, kernel, fan=style.fan)

    def _make_stem(self, deter: int, stoch: int, units: int, blocks: int, style: Style) -> None:
        """Layers from the two inputs to the smallest map."""
        size, bias = math.prod(self.map), style.bias_under_norm
        self.blocks = blocks
        self.from_deter = BlockLinear(deter, size, blocks, style.fan, bias)
        self.from_stoch = nn.Sequential(
            Unit(stoch, 2 * units, style), Linear(2 * units, size, fan=style.fan, bias=bias)
        )
        self.norm = ChannelNorm(self.map[-1], style)

    def smallest(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """`[N, D], [N, S*K] -> [N, c, h, w]`."""
        h, w, c = self.map
        # Each block's output is a map of its own: N G (h w c/G) -> N h w (G c/G).
        x0 = self.from_deter(deter).unflatten(-1, (self.blocks, h, w, c // self.blocks))
        x0 = x0.permute(0, 2, 3, 1, 4).flatten(3)
        x1 = self.from_stoch(stoch).unflatten(-1, (h, w, c))
        x: Tensor = self.norm((x0 + x1).permute(0, 3, 1, 2))
        return x


class LinearStemDecoder(ImageDecoder):
    """The smallest map is one linear layer on the whole latent state; arguments as above.

    Source: danijar/dreamerv3 @ 423291a, `dreamerv3/nets.py`.
    """

    def _make_stem(self, deter: int, stoch: int, units: int, blocks: int, style: Style) -> None:
        self.stem = Linear(deter + stoch, math.prod(self.map), fan=style.fan)

    def smallest(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """`[N, D], [N, S*K] -> [N, c, h, w]`."""
        x = self.stem(torch.cat([deter, stoch], -1)).unflatten(-1, self.map)
        return x.permute(0, 3, 1, 2)
