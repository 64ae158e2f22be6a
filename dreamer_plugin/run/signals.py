"""Signals that ask a run to stop: the update in progress is finished and saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopSignals:
    """Context in which the first INT, TERM or USR1 only sets `received`.

    After it the handlers that stood before are back, so that a second signal ends the process as it
    would have without us. Outside the main thread Python allows no handlers, and nothing changes.

    Args:
        numbers: the signals.
    """

    def __init__(self, numbers: Iterable[int] = STOPPING) -> None:
        self.received = ""
        self._numbers = tuple(numbers)
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in self._numbers}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
