"""The picture of an Atari console, most of which stands still from one look to the next.

The emulator gives a frame as one number per pixel in a fiftieth of the time that its colours take.
So frames are compared as numbers, eight pixels at once, and only words that differ from the frame
before get colours: those that the emulator gave such a number when it was first met.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamer_envs.images import Image

WORD = 8  # pixels that are compared at once; a row has 160
NO_WORD = np.full(WORD, 255, np.uint8).view(np.uint64)[0]  # the console's colours are even
KNOWN = 255  # the fourth channel of each colour

NONE = np.empty(0, np.intp)


class Screen:
    """The last frames of an emulator, and each pixel's maximum over them.

    Args:
        ale: the emulator, with a game loaded.
        frames: how many frames are kept, at least one.
    """

    def __init__(self, ale: Any, frames: int) -> None:
        height, width = ale.getScreenDims()
        self._ale = ale
        self._palette = np.zeros(256, np.uint32)  # the colour of each number, 0 if never met
        self._fresh = np.empty((height, width), np.uint8)
        self._fresh_words = self._fresh.reshape(-1).view(np.uint64)
        self._frames = [_Frame(height, width) for _ in range(frames)]
        self._pooled = _Frame(height, width)
        self._differ = [NONE]  # words that each look found changed; a short last step has no look
        self._moved = np.zeros(height, np.bool_)

    @property
    def frames(self) -> NDArray[np.uint8]:
        """Frames from the oldest to the newest, uint8 `[frames, H, W, 3]`."""
        return np.stack([frame.picture[..., :3] for frame in self._frames])

    @frames.setter
    def frames(self, frames: NDArray[np.uint8]) -> None:
        for kept, frame in zip(self._frames, frames, strict=True):
            kept.picture[..., :3], kept.picture[..., 3] = frame, KNOWN
            kept.numbers[:] = NO_WORD  # so that the next look takes all of it
        self._differ = [np.arange(len(self._fresh_words))]

    def look(self) -> None:
        """Takes the emulator's frame in, in the place of the oldest."""
        frame = self._frames.pop(0)
        self._frames.append(frame)
        self._ale.getScreen(self._fresh)
        differ = (self._fresh_words != frame.numbers).nonzero()[0]
        numbers = self._fresh_words[differ]
        pixels = numbers.view(np.uint8)
        colours = self._palette[pixels]
        if np.count_nonzero(colours) < len(colours):
            self._learn()
            colours = self._palette[pixels]
        frame.numbers[differ] = numbers
        frame.colours[differ] = colours.reshape(-1, WORD)
        self._differ.append(differ)

    def pooled(self) -> tuple[Image, NDArray[np.intp]]:
        """Each pixel's maximum over the frames, and which rows may differ from the last one asked.

        Returns:
            uint8 `[H, W, 4]`, whose last channel says nothing and which the next call changes, and
            numbers of rows, rising.
        """
        words = np.concatenate(self._differ)
        self._differ = [NONE]
        brightest = self._frames[0].colours[words].view(np.uint8)
        for frame in self._frames[1:]:
            np.maximum(brightest, frame.colours[words].view(np.uint8), out=brightest)
        self._pooled.colours[words] = brightest.view(np.uint32)
        self._moved[words // (self._fresh.shape[1] // WORD)] = True
        rows = self._moved.nonzero()[0]
        self._moved[rows] = False
        return self._pooled.picture, rows

    def _learn(self) -> None:
        """Takes the colours of all numbers that the emulator shows now."""
        shown = np.full((*self._fresh.shape, 4), KNOWN, np.uint8)
        shown[..., :3] = self._ale.getScreenRGB()
        self._palette[self._fresh] = shown.view(np.uint32)[..., 0]


class _Frame:
    """Numbers and colours of a frame, in words.

    Attributes:
        numbers: uint64 `[words]`, a number in each byte.
        colours: uint32 `[words, WORD]`, red, green, blue and `KNOWN` in the bytes of each.
        picture: the same colours, in the same memory, as uint8 `[H, W, 4]`.
    """

    def __init__(self, height: int, width: int) -> None:
        self.numbers = np.full(height * width // WORD, NO_WORD)
        self.picture = np.zeros((height, width, 4), np.uint8)
        self.colours = self.picture.reshape(-1).view(np.uint32).reshape(-1, WORD)
