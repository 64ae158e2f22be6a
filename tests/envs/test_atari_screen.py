"""The console's picture is put together from what changed, and is what the emulator shows."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_envs.suites.atari import brightest
from dreamer_envs.suites.atari_screen import Screen

HEIGHT, WIDTH = 10, 16


class Console:
    """Shows numbers, and gives them the colours of a random palette."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.palette = self.rng.integers(0, 256, (256, 3), dtype=np.uint8)
        self.shown = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.colours_asked = 0

    def getScreenDims(self):
        return self.shown.shape

    def getScreen(self, out):
        out[...] = self.shown

    def getScreenRGB(self):
        self.colours_asked += 1
        return self.palette[self.shown]

    def play(self, share: float) -> np.ndarray:
        """Changes a share of the pixels; the frame that it shows now."""
        hit = self.rng.random(self.shown.shape) < share
        self.shown[hit] = 2 * self.rng.integers(0, 128, hit.sum())
        return self.palette[self.shown]


@pytest.mark.parametrize("pool", [1, 2, 3])
def test_pictures_are_the_brightest_of_the_last_frames(pool):
    console = Console()
    screen, frames, shown = Screen(console, pool), [], None
    for step in range(60):
        for _ in range(step % 4 if step else pool):  # none, when an episode ends early
            frames.append(console.play(console.rng.choice([0.0, 0.01, 0.3])))
            screen.look()
        before = shown
        picture, rows = screen.pooled()
        shown = picture[..., :3].copy()
        np.testing.assert_array_equal(shown, brightest(frames[-pool:]))
        np.testing.assert_array_equal(screen.frames, frames[-pool:])
        if before is not None:
            moved = np.flatnonzero((shown != before).any(axis=(1, 2)))
            assert set(moved) <= set(rows) and list(rows) == sorted(set(rows))


def test_rows_that_stand_still_are_not_named():
    console = Console()
    screen = Screen(console, 1)
    console.play(1.0)
    screen.look()
    assert list(screen.pooled()[1]) == list(range(HEIGHT))
    console.shown[[2, 7], 3] ^= 2
    screen.look()
    assert list(screen.pooled()[1]) == [2, 7]
    screen.look()
    assert not len(screen.pooled()[1])


def test_colours_are_asked_for_once():
    console = Console()
    screen = Screen(console, 2)
    console.shown[...] = 2 * np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 256
    for _ in range(20):
        screen.look()
        console.play(0.5)
    assert console.colours_asked == 1


def test_frames_that_are_set_are_shown_and_forgotten():
    console = Console()
    screen = Screen(console, 2)
    for _ in range(2):
        console.play(0.5)
        screen.look()
    kept = screen.frames
    kept_picture = screen.pooled()[0].copy()
    played = [console.play(0.9) for _ in range(2)]
    other = Screen(console, 2)
    other.frames = kept
    picture, rows = other.pooled()
    np.testing.assert_array_equal(picture[..., :3], kept_picture[..., :3])
    assert len(rows) == HEIGHT
    other.look()
    np.testing.assert_array_equal(other.frames, [kept[1], played[1]])
