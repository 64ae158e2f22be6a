"""Image operations on uint8 `[H, W, C]` arrays, exactly as the published agents saw them."""

from __future__ import annotations

from functools import cache

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


class Resizer:
    """`resize` of one picture after another, which looks again only at the rows that changed.

    PIL shrinks each row by itself and rounds, and then the columns, so a row that is as it was
    gives what it gave before. Most of a game's picture stands still. Where PIL begins with the
    columns, which it does for other sizes, all is done anew.

    Args:
        height, width: of the results.
    """

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._last = np.empty((0, 0), np.uint8)  # rows of the last picture
        self._narrow = np.empty((0, width, 3), np.uint8)  # the same after the first half

    def __call__(self, image: Image) -> Image:
        """The resized picture.

        Args:
            image: uint8 `[H, W, 3]`.

        Returns:
            uint8 `[height, width, 3]`, in memory of its own, exactly that of `resize`.
        """
        if not _rows_first(*image.shape[:2], self._height, self._width):
            return resize(image, self._height, self._width)
        rows = image.reshape(len(image), -1)
        if rows.shape != self._last.shape:
            self._last = ~rows
            self._narrow = np.empty((len(image), self._width, 3), np.uint8)
        wide = np.uint64 if rows.shape[1] % 8 == 0 else np.uint8  # compares eight bytes at once
        changed = np.flatnonzero((rows.view(wide) != self._last.view(wide)).any(axis=1))
        if len(changed):
            self._last[changed] = rows[changed]
            self._narrow[changed] = resize(image[changed], len(changed), self._width)
        small = Pil.fromarray(self._narrow)
        return np.asarray(small.resize((self._width, self._height), Pil.Resampling.BILINEAR))


@cache
def _rows_first(height: int, width: int, new_height: int, new_width: int) -> bool:
    """Whether PIL shrinks rows before columns; which comes first depends on the sizes."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    in_halves = resize(resize(noise, height, new_width), new_height, new_width)
    return np.array_equal(in_halves, resize(noise, new_height, new_width))


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


def in_colour(image: Image) -> Image:
    """Three channels `[H, W, 3]`; of other numbers, such as stacked grey frames, the last one."""
    return image if image.shape[-1] == 3 else np.repeat(image[..., -1:], 3, -1)


def enlarged(image: Image, least: int) -> Image:
    """Each pixel as a square, so that the shorter side has at least so many."""
    times = max(1, -(-least // min(image.shape[:2])))
    return image.repeat(times, 0).repeat(times, 1)
