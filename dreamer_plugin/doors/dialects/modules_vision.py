"""The documents' image encoder and decoder, around `nets.vision_valid`; channels come first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dreamer_plugin.doors.dialects.modules_predictions import dense_style
from dreamer_plugin.doors.dialects.modules_states import FeatureLike, features_of
from dreamer_plugin.nets.vision_valid import ValidImageDecoder, ValidImageEncoder


class ConvEncoder(nn.Module):
    """Four convolutions without padding, 64 -> 31 -> 14 -> 6 -> 2 pixels, and a linear layer.

    Args:
        input_shape: `(C, H, W)`. embed_size: E. activation, norm: of the stages.
        depth: channels of the first stage; each further one has twice as many.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int] = (3, 64, 64),
        embed_size: int = 1024,
        activation: str = "relu",
        depth: int = 32,
        norm: str = "none",
    ) -> None:
        super().__init__()
        channels, height, width = input_shape
        self.part = ValidImageEncoder(
            (height, width),
            channels,
            [depth, 2 * depth, 4 * depth, 8 * depth],
            style=dense_style(activation, norm),
            embed_size=embed_size,
        )

    def forward(self, image: Tensor) -> Tensor:
        """`[..., C, H, W] -> [..., E]`, of bytes or of floats in [0, 1]."""
        image = image.float() / 255 if image.dtype == torch.uint8 else image
        lead = image.shape[:-3]  # empty for one image
        rows = image.reshape(lead.numel(), *image.shape[-3:]).movedim(-3, -1)
        embed: Tensor = self.part(rows.contiguous())
        return embed.reshape(*lead, embed.shape[-1])


class ConvDecoder(nn.Module):
    """A linear layer and four transposed convolutions, 1 -> 5 -> 13 -> 30 -> 64 pixels.

    The document draws maps of 2, 6, 14 and 31 pixels on the way, which its kernels (5, 5, 6, 6)
    cannot make; kernels, channels, the 1024 numbers of the linear layer and the result are its own.

    Args:
        stoch_size, deter_size, num_categories: as of `DenseDecoder`. output_shape: `(C, H, W)`.
        activation, depth, norm: as of `ConvEncoder`.
    """

    def __init__(
        self,
        stoch_size: int,
        deter_size: int,
        output_shape: tuple[int, int, int] = (3, 64, 64),
        activation: str = "relu",
        depth: int = 32,
        num_categories: int = 1,
        norm: str = "none",
    ) -> None:
        super().__init__()
        channels, height, width = output_shape
        self.deter = deter_size
        self.part = ValidImageDecoder(
            deter_size,
            stoch_size * num_categories,
            (height, width),
            channels,
            [depth, 2 * depth, 4 * depth, 32 * depth],
            style=dense_style(activation, norm),
        )

    def forward(self, features: FeatureLike) -> Tensor:
        """`[..., F] -> [..., C, H, W]`; black is 0 and white 1, nothing bounds it."""
        given = features_of(features)
        lead = given.shape[:-1]  # empty for one state
        flat = given.reshape(lead.numel(), given.shape[-1])
        image: Tensor = self.part(flat[:, : self.deter], flat[:, self.deter :]).movedim(-1, -3)
        return image.reshape(*lead, *image.shape[-3:])
