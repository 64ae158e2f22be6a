"""What Xvfb shows, read from the file that it keeps its screen in, and the mark of a step in it.

    rows 0..7          strip with the mark at the left      never shown to the agent
    rows 8..8+V-1      the view
    rows 8+V..8+V+7    strip with the mark at the right     never shown to the agent

The mod draws the number of the step as a colour at both ends of the screen. A frame that has it in
both places was drawn, whole, after the client had heard of that step.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamer_envs.errors import EnvError
from dreamer_envs.images import Image

STRIP = 8  # rows above and below the view
MARKS = 256  # colours, after which they begin again
CLOSE_ENOUGH = 6  # of 16 between two neighbouring colours
FILE = "Xvfb_screen0"
HEADER = struct.Struct(">25I")  # of an X window dump, version 7
NAP = 0.001  # seconds between two looks


class Layout(NamedTuple):
    """Where the pixels lie: bytes before them, bytes of a row, size."""

    offset: int
    stride: int
    width: int
    height: int


def layout(header: bytes) -> Layout:
    """Reads the head of an X window dump.

    Raises:
        EnvError: its pixels are not of the kind that is asked for: 32 bits, blue first.
    """
    fields = HEADER.unpack(header[: HEADER.size])
    size, version, kind, depth, width, height = fields[:6]
    byte_order, bits, stride, colours = fields[7], fields[11], fields[12], fields[19]
    if (version, kind, depth, byte_order, bits) != (7, 2, 24, 0, 32):
        raise EnvError(
            f"Xvfb keeps its screen in another form: version {version}, format {kind}, depth "
            f"{depth}, byte order {byte_order}, {bits} bits a pixel."
        )
    return Layout(size + colours * 12, stride, width, height)


def mark_colour(mark: int) -> tuple[int, int, int]:
    """Red, green and blue that stand for the number of a step, as the mod draws it."""
    return mark // 16 % 16 * 16 + 8, mark % 16 * 16 + 8, 128


def shows(pixels: Image, mark: int) -> bool:
    """Whether a mark is at both ends of a screen `[H, W, 3]`."""
    ends = pixels[[2, -3], [2, -3]].astype(np.int16)
    return bool((np.abs(ends - np.array(mark_colour(mark))) <= CLOSE_ENOUGH).all())


def view(pixels: Image) -> Image:
    """The screen without its strips, `[H - 2 * STRIP, W, 3]`."""
    return pixels[STRIP:-STRIP]


class Screen:
    """The mapped screen of an Xvfb.

    Args:
        folder: that it was given as `-fbdir`.

    Raises:
        EnvError: it keeps its screen in another form.
    """

    def __init__(self, folder: Path) -> None:
        with open(folder / FILE, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._layout = layout(self._map[: HEADER.size])

    def pixels(self) -> Image:
        """All of it as it is now, uint8 `[H, W, 3]`, red first, in memory of its own."""
        offset, stride, width, height = self._layout
        raw = np.frombuffer(self._map, np.uint8, height * stride, offset).reshape(height, stride)
        return raw[:, : width * 4].reshape(height, width, 4)[:, :, 2::-1].copy()

    def wait(self, mark: int, seconds: float) -> Image | None:
        """The first whole frame that has a mark; `None` if there is none in so many seconds."""
        end = time.monotonic() + seconds
        while True:
            pixels = self.pixels()
            if shows(pixels, mark):
                return pixels
            if time.monotonic() > end:
                return None
            time.sleep(NAP)

    def close(self) -> None:
        """Lets go of the file; may be called twice."""
        self._map.close()
