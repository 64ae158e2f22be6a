"""Image operations on uint8 `[H, W, C]` arrays, exactly as the published agents saw them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil

Image = NDArray[np.uint8]

LUMA = (0.299, 0.587, 1.0 - (0.299 + 0.587))  # not 0.114: they must add up to exactly 1


def resize(image: Image, height: int, width: int) -> Image:
    """Bilinear resize of PIL, which averages over the source area when it shrinks.

    Args:
        image: uint8 `[H, W, 3]` or `[H, W, 1]`.
        height: rows of the result.
        width: columns of the result.

    Returns:
        uint8 `[height, width, C]`; the argument itself if it has that size already.
    """
    if image.shape[:2] == (height, width):
        return image
    flat = image[..., 0] if image.shape[-1] == 1 else image
    small = np.asarray(Pil.fromarray(flat).resize((width, height), Pil.Resampling.BILINEAR))
    return small.reshape(height, width, image.shape[-1])


def grayscale(image: Image) -> Image:
    """Luma `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601), truncated to an integer.

    Args:
        image: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W, 1]`. Added in the order of the official DreamerV3 code, so that truncation
        agrees for every colour and a gray keeps its value.
    """
    red, green, blue = LUMA
    luma = image[..., 0] * red + image[..., 1] * green + image[..., 2] * blue
    gray: Image = luma[..., None].astype(np.uint8)
    return gray
