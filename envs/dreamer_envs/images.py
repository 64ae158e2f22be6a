"""Image operations on uint8 `[H, W, C]` arrays, exactly as the published agents saw them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil

Image = NDArray[np.uint8]

LUMA = (0.299, 0.587, 1.0 - (0.299 + 0.587))  # not 0.114: they must add up to exactly 1


def at_rate(metadata: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """Metadata of an env that shows `rate` frames a second, as a whole number of at least 1."""
    return {**metadata, "render_fps": round(rate) or 1}


def resize(image: Image, height: int, width: int) -> Image:
    """Bilinear resize of PIL, which averages over the source area when it shrinks.

    Args:
        image: uint8 `[H, W, C]`.
        height: rows of the result.
        width: columns of the result.

    Returns:
        uint8 `[height, width, C]`; the argument itself if it has that size already.
    """
    if image.shape[:2] == (height, width):
        return image
    channels = image.shape[-1]
    if channels not in (1, 3):  # PIL takes two or four for colours with an alpha
        each = [resize(image[..., i : i + 1], height, width) for i in range(channels)]
        return np.concatenate(each, -1)
    flat = image[..., 0] if channels == 1 else image
    small = np.asarray(Pil.fromarray(flat).resize((width, height), Pil.Resampling.BILINEAR))
    return small.reshape(height, width, channels)


class Resizer:
    """`resize` of one picture after another, which looks again only at what changed.

    PIL shrinks each row by itself and rounds, and then the columns, so a row that is as it was
    gives what it gave before, and rows of the result that no changed row reaches stay. Most of a
    game's picture stands still. Where PIL begins with the columns, which it does for other sizes,
    all is done anew.

    Args:
        height, width: of the results.
        gray: whether to give `grayscale` of the result.
    """

    def __init__(self, height: int, width: int, gray: bool = False) -> None:
        self._height, self._width, self._gray = height, width, gray
        self._narrow = np.empty((0, width, 4), np.uint8)  # after the first half
        self._result = np.empty((height, width, 1 if gray else 3), np.uint8)

    def __call__(self, image: Image, changed: NDArray[np.intp]) -> Image:
        """The resized picture.

        Args:
            image: uint8 `[H, W, 4]`, of which the last channel says nothing. PIL takes four
                without a copy, and three only with one.
            changed: numbers of the rows, rising, that may differ from the last picture.

        Returns:
            uint8 `[height, width, 3 or 1]`, in memory of its own, exactly that of `resize`.
        """
        if not _rows_first(*image.shape[:2], self._height, self._width):
            return self._coloured(_resized(image, self._height, self._width)).copy()
        if len(image) != len(self._narrow):
            self._narrow = np.empty((len(image), self._width, 4), np.uint8)
            changed = np.arange(len(image))
        if len(changed):
            self._narrow[changed] = _resized(image[changed], len(changed), self._width)
            self._shrink_columns(int(changed[0]), int(changed[-1]))
        return self._result.copy()

    def _shrink_columns(self, first: int, last: int) -> None:
        """The second half, for the rows of the result that rows `first` to `last` reach."""
        top, bottom = _reached(len(self._narrow), self._height, first, last)
        step = len(self._narrow) / self._height
        start, stop = max(0, int((top - 1) * step)), int((bottom + 1) * step) + 1
        box = (0, top * step - start, self._width, bottom * step - start)
        small = _resized(self._narrow[start:stop], bottom - top, self._width, box)
        self._result[top:bottom] = self._coloured(small)

    def _coloured(self, image: Image) -> Image:
        return grayscale(image) if self._gray else image[..., :3]


def _resized(
    image: Image, height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> Image:
    """`resize` of a part of a picture, by default of all of it, each of its four channels alone.

    As RGBX, which PIL reads where it lies: it copies RGB first, and weighs RGBA by the fourth.
    """
    size = image.shape[1::-1]
    picture = Pil.frombuffer("RGBX", size, image, "raw", "RGBX", 0, 1)
    return np.asarray(picture.resize((width, height), Pil.Resampling.BILINEAR, box))


def _reached(height: int, new_height: int, first: int, last: int) -> tuple[int, int]:
    """Rows from top to bottom, of a shrunk picture, that could see rows `first` to `last` of it."""
    if not _parts_exact(height, new_height):
        return 0, new_height
    step = height / new_height
    return max(0, int(first / step) - 1), min(new_height, int(last / step) + 2)


@cache
def _parts_exact(height: int, new_height: int) -> bool:
    """Whether a part of a picture, shrunk alone, is exactly that part of the whole.

    PIL weighs pixels by their distances, which are free of rounding only if the step from row to
    row is a whole number of `2 ** -n`.
    """
    step = Fraction(height, new_height)
    return step >= 1 and step.denominator & (step.denominator - 1) == 0


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
