"""How far a command is and when it will be done: on stderr, so that its answer stays clean."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

FIRST, LONGEST = 15.0, 600.0  # seconds to the first line, and between two at most


@contextmanager
def metered(console: Console | None = None) -> Iterator[None]:
    """Shows what is told inside: bars on a terminal; elsewhere a line now and then.

    Args:
        console: where to; stderr by default.
    """
    from dreamer_plugin.run.telling import heard_by

    console = console or Console(stderr=True)
    shown = Bars(console) if console.is_terminal else Lines(console)
    with shown, heard_by(shown.tell):
        yield


class Bars:
    """A bar for each thing that is under way, with the time that is left.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        # What a command prints to a file stays there, and else stands above the bars.
        above = sys.stdout.isatty()
        self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=above)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, what: str, done: float, total: float) -> None:
        """As of `telling.tell`."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total or None)
        self._bar.update(self._tasks[what], completed=done, total=total or None)
        if total and done >= total:
            self._bar.remove_task(self._tasks.pop(what))


class Lines:
    """Plain lines: none of what is done at once, fewer and fewer of what takes hours.

    Args:
        console: no terminal. clock: seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._began: dict[str, tuple[float, float]] = {}
        self._wait = FIRST
        self._next = clock() + FIRST

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def tell(self, what: str, done: float, total: float) -> None:
        """As of `telling.tell`."""
        now = self._clock()
        since, before = self._began.setdefault(what, (now, done))
        if total and done >= total:
            del self._began[what]
        elif now >= self._next and done > before:
            self._wait = min(2 * self._wait, LONGEST)
            self._next = now + self._wait
            line = f"{what}  {done:,.0f}"
            if total:
                left = timedelta(seconds=round((total - done) * (now - since) / (done - before)))
                line += f"/{total:,.0f} | ETA {left}"
            self._console.print(line, highlight=False, soft_wrap=True)
