"""Image encoder and decoder without padding, for the agents before the third.

Filters count where all of them fits, so sizes do not halve and double exactly:

    encoder  kernels 4 4 4 4    64 -> 31 -> 14 -> 6 -> 2
    decoder  kernels 5 5 6 6     1 -> 5 -> 13 -> 30 -> 64

Source: danijar/dreamer @ 56d4d44, `models.py`; danijar/dreamerv2 @ 07d906e, `common/nets.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.layers import OFFICIAL, Linear, Style
from dreamer_plugin.nets.vision import Conv, ConvStage, MapDecoder, MapEncoder, init_filters


class GrowingConv(nn.ConvTranspose2d):
    """Transposed convolution of stride 2 without padding: size `n -> 2 (n - 1) + kernel`.

    `fan` is of `init_weight`.
    """

    def __init__(
        self, cin: int, cout: int, kernel: int, fan: str = "in", bias: bool = True
    ) -> None:
        self.fan = fan
        super().__init__(cin, cout, kernel, stride=2, bias=bias)

    def reset_parameters(self) -> None:
        """Draw the weights anew; zero the bias."""
        init_filters(self, self.fan)


def _refuse(section: str, way: str, outer: bool, residual: int) -> None:
    """An error at settings that stages without padding do not have."""
    for name, value, off in (("outer", outer, "false"), ("residual", residual, "0")):
        if value:
            raise UsageError(
                f"{section}.{name} is {str(value).lower()}, but stages of {section}.{way}=valid "
                f"have no such thing: set {section}.{name}={off}"
            )


def _grown(kernels: Sequence[int]) -> int:
    """Side that `GrowingConv`s make of one pixel; convolutions shrink no smaller one to a pixel."""
    side = 1
    for kernel in kernels:
        side = 2 * (side - 1) + kernel
    return side


def _smallest_map(size: tuple[int, int], kernel: int, stages: int, key: str) -> tuple[int, int]:
    """Size of the map after the encoder's stages; what is left of a stride at the end is unseen."""
    least = _grown([kernel] * stages)
    if min(size) < least:
        near = [max(side, least) for side in size]
        raise UsageError(
            f"image {key!r} of size {size[0]}x{size[1]} does not fit: {stages} stages of kernel "
            f"{kernel} without padding need sides of {least} or more, such as {near[0]}x{near[1]}; "
            "set env.size, or resize the image in your own env"
        )
    height, width = size
    for _ in range(stages):
        height, width = (height - kernel) // 2 + 1, (width - kernel) // 2 + 1
    return height, width


def _decoder_kernels(kernel: int, stages: int) -> list[int]:
    """The last two are one larger."""
    return [kernel + (stage >= stages - 2) for stage in range(stages)]


def _check_grown(size: tuple[int, int], kernel: int, stages: int, key: str) -> None:
    """An error where the decoder makes images of another size than `size`."""
    made = {n: _grown(_decoder_kernels(kernel, n)) for n in (stages - 1, stages, stages + 1)}
    side = made.pop(stages)
    if size != (side, side):
        kernels = ", ".join(map(str, _decoder_kernels(kernel, stages)))
        others = ", ".join(f"{n} stages {other}x{other}" for n, other in made.items() if n)
        raise UsageError(
            f"image {key!r} of size {size[0]}x{size[1]} does not fit: {stages} stages of kernels "
            f"{kernels} without padding make {side}x{side} ({others}); set env.size, or another "
            "number of world.decoder.mults, or resize the image in your own env"
        )


class ValidImageEncoder(MapEncoder):
    """Stages of convolution with stride 2 and no padding -> norm -> activation, flattened.

    Args:
        size: `(H, W)` of the images, each large enough that the last map has a pixel.
        channels: of all images together. depths: channels of each stage.
        kernel: side of the filters. key: name for errors. style: of the stages.
        embed_size: as in `MapEncoder`.
        downsample, outer, residual: for the signature of `ImageEncoder`; the first is not read, the
            others must be off.

    Raises:
        UsageError: the images are too small, or `outer` or `residual` is set.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: int,
        depths: Sequence[int],
        kernel: int = 4,
        downsample: str = "valid",
        outer: bool = False,
        key: str = "image",
        style: Style = OFFICIAL,
        residual: int = 0,
        embed_size: int = 0,
    ) -> None:
        _refuse("world.encoder", "downsample", outer, residual)
        height, width = _smallest_map(size, kernel, len(depths), key)
        fan, bias = style.fan, style.bias_under_norm
        stages = [
            ConvStage(Conv(cin, cout, kernel, 2, fan, bias, pad=False), style=style)
            for cin, cout in zip([channels, *depths], depths, strict=False)
        ]
        super().__init__(stages, height * width * depths[-1], embed_size, fan)


class ValidImageDecoder(MapDecoder):
    """One linear layer to a map of a single pixel, then transposed convolutions without padding.

    Args:
        deter, stoch: sizes of the two inputs.
        size: `(H, W)` of the images: the one that the stages make, 64x64 by the official kernels.
        channels: of all images together.
        depths: channels from the image inwards; the last are those of the linear layer, which
            officially are 32 times the first: 1, 2, 4, 32. There is a stage for each.
        kernel: side of the filters; those of the last two stages are one larger.
        key, style, sigmoid: as in `ImageDecoder`. The linear layer and the last stage have neither
            norm nor activation.
        units, blocks, upsample, outer, residual: for the signature of `ImageDecoder`; the first
            three are not read, the others must be off.

    Raises:
        UsageError: the stages make another size, or `outer` or `residual` is set.
    """

    def __init__(
        self,
        deter: int,
        stoch: int,
        size: tuple[int, int],
        channels: int,
        depths: Sequence[int],
        units: int = 0,
        blocks: int = 1,
        kernel: int = 5,
        upsample: str = "valid",
        outer: bool = False,
        key: str = "image",
        style: Style = OFFICIAL,
        residual: int = 0,
        sigmoid: bool = False,
    ) -> None:
        super().__init__(sigmoid)
        _refuse("world.decoder", "upsample", outer, residual)
        _check_grown(size, kernel, len(depths), key)
        fan, bias = style.fan, style.bias_under_norm
        self.stem = Linear(deter + stoch, depths[-1], fan=fan)
        *kernels, last = _decoder_kernels(kernel, len(depths))
        widths = list(depths)[::-1]
        self.stages = nn.Sequential(
            *(
                ConvStage(GrowingConv(cin, cout, kernel, fan, bias), style=style)
                for cin, cout, kernel in zip(widths, widths[1:], kernels, strict=False)
            )
        )
        self.out = GrowingConv(depths[0], channels, last, fan)

    def smallest(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """`[N, D], [N, S*K] -> [N, c, 1, 1]`."""
        x = self.stem(torch.cat([deter, stoch], -1)).unflatten(-1, (1, 1, -1))
        return x.permute(0, 3, 1, 2)
