"""Keys and mouse of one X display, through its own test extension."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from dreamer_envs.errors import EnvError

DIG = "dig"  # the left button of the mouse; all others are names of keys
IDLE = 0.3  # seconds without an order, after which everything is let go
LOOK = 0.1  # seconds between two looks at that
BUTTON = 1


class Hands:
    """Holds keys down and moves the mouse.

    The game goes on while an agent learns. So that it does not walk on for seconds with the key of
    its last action, all keys are let go when no order has come for `IDLE` seconds.

    Args:
        display: for example `:7`.

    Raises:
        EnvError: no window is there to take the keys.
    """

    def __init__(self, display: str) -> None:
        from Xlib import XK, X
        from Xlib import display as displays
        from Xlib.ext import xtest

        self._x, self._fake, self._keysym = X, xtest.fake_input, XK.string_to_keysym
        self._display: Any = displays.Display(display)
        self._down: set[str] = set()
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._focus(display)
        self._watch = threading.Thread(target=self._let_go_when_idle, daemon=True)
        self._watch.start()

    def hold(self, keys: Iterable[str]) -> None:
        """Holds these keys, and no others.

        Args:
            keys: names of X, as `w` or `space`, and `DIG`.
        """
        with self._lock:
            self._last = time.monotonic()
            self._press(set(keys))

    def turn(self, right: int, down: int) -> None:
        """Moves the mouse by so many pixels."""
        if right or down:
            with self._lock:
                move = self._x.MotionNotify
                self._fake(self._display, move, detail=1, x=right, y=down)  # 1: relative
                self._display.sync()

    def close(self) -> None:
        """Lets the display go; may be called twice."""
        self._stop.set()
        self._watch.join()
        with self._lock:
            if self._display is not None:
                try:
                    self._display.close()
                except Exception:  # the server is gone, which is what closing is for
                    pass
                self._display = None

    def _focus(self, display: str) -> None:
        """Without a window manager nobody else gives the window the keys."""
        windows = self._display.screen().root.query_tree().children
        if not windows:
            raise EnvError(f"No window is open on display {display}.")
        for window in windows:
            window.set_input_focus(self._x.RevertToParent, self._x.CurrentTime)
        self._display.sync()

    def _press(self, wanted: set[str]) -> None:
        for key in self._down - wanted:
            self._event(key, self._x.KeyRelease, self._x.ButtonRelease)
        for key in wanted - self._down:
            self._event(key, self._x.KeyPress, self._x.ButtonPress)
        self._down = wanted
        self._display.sync()

    def _event(self, key: str, of_key: int, of_button: int) -> None:
        if key == DIG:
            self._fake(self._display, of_button, BUTTON)
        else:
            code = self._display.keysym_to_keycode(self._keysym(key))
            self._fake(self._display, of_key, code)

    def _let_go_when_idle(self) -> None:
        while not self._stop.wait(LOOK):
            with self._lock:
                if self._down and time.monotonic() - self._last > IDLE:
                    try:
                        self._press(set())
                    except Exception:  # the display is gone: the next step says so
                        return
