"""What a person sees of a run: a live table on a terminal, plain lines at intervals elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from typing_extensions import Self

RECENT = 10  # episodes whose mean return is shown
NONE_YET = float("-inf")
_KEPT = ("step", "updates", "owed", "seconds", "best")


@dataclass
class Progress:
    """How far a run has come."""

    env: str
    steps: int  # planned agent steps
    action_repeat: int
    prefill: int  # windows, or starts, needed before the first update
    capacity: int  # windows, or records, the replay can hold
    step: int = 0  # agent steps over all envs, reset frames included
    updates: int = 0
    owed: int = 0  # updates due at this step and not made yet
    windows: int = 0
    counted: str = "windows"  # what `windows` and `prefill` are numbers of
    seconds: float = 0.0  # spent training, before a resume too
    waited: float = 0.0  # of them, for the envs
    best: float = NONE_YET  # value of the best checkpoint
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    losses: dict[str, float] = field(default_factory=dict)
    evaluation: str = ""

    @property
    def frames(self) -> int:
        """Simulator frames, agent steps times the action repeat."""
        return self.step * self.action_repeat

    @property
    def prefilling(self) -> bool:
        """Whether the replay still fills and nothing is learned yet."""
        return self.updates == 0 and self.windows < self.prefill

    @property
    def last_return(self) -> float | None:
        """Mean return of the most recent episodes, None before the first one ends."""
        return sum(self.returns) / len(self.returns) if self.returns else None

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume."""
        kept = {name: getattr(self, name) for name in _KEPT}
        return kept | {"waited": self.waited, "returns": list(self.returns)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name in _KEPT:
            setattr(self, name, state[name])
        self.waited = state.get("waited", 0.0)  # not in older checkpoints
        self.returns.clear()
        self.returns.extend(state["returns"])


class Speed:
    """Rates over the last `span` seconds."""

    def __init__(self, span: float = 30.0) -> None:
        self._span = span
        self._marks: deque[tuple[float, int, int]] = deque()

    def mark(self, now: float, step: int, updates: int) -> None:
        """Note the counters at a time in seconds."""
        self._marks.append((now, step, updates))
        while len(self._marks) > 2 and now - self._marks[0][0] > self._span:
            self._marks.popleft()

    def rates(self) -> tuple[float, float]:
        """Agent steps and updates per second."""
        if len(self._marks) < 2 or self._marks[-1][0] <= self._marks[0][0]:
            return 0.0, 0.0
        (start, step0, updates0), (end, step1, updates1) = self._marks[0], self._marks[-1]
        return (step1 - step0) / (end - start), (updates1 - updates0) / (end - start)


class Pace:
    """Agent steps per second as far as they foretell the rest of a run.

    Speeds of some seconds swing with what else the machine does, so a longer past counts than for
    the speeds that are shown; and steps before the first update tell nothing of those after it,
    which take many times longer.

    Args:
        span: seconds that count.
    """

    def __init__(self, span: float = 600.0) -> None:
        self._span = span
        self._speed, self._learns = Speed(span), False

    def mark(self, now: float, step: int, updates: int) -> None:
        """As of `Speed`."""
        if updates and not self._learns:
            self._speed, self._learns = Speed(self._span), True
        self._speed.mark(now, step, updates)

    def left(self, steps: int) -> float | None:
        """Seconds that so many steps will take, None while that is not known."""
        pace = self._speed.rates()[0]
        return steps / pace if pace and self._learns else None


class Display:
    """Shows a `Progress`; a context, so that the terminal is left in order.

    Args:
        progress: read at every refresh.
        console: where to; standard output by default.
        refresh: seconds between two refreshes on a terminal.
        interval: seconds between two lines elsewhere.
    """

    def __init__(
        self,
        progress: Progress,
        console: Console | None = None,
        refresh: float = 0.25,
        interval: float = 15.0,
    ) -> None:
        self.console = console or Console()
        self.progress = progress
        self._live: Live | None = None
        self._every = refresh if self.console.is_terminal else interval
        self._next = 0.0
        self._speed, self._pace = Speed(), Pace()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(self._table(), console=self.console, auto_refresh=False)
            self._live.__enter__()
        self._next = time.monotonic() + self._every
        self._mark(time.monotonic())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._show(time.monotonic())
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
            self._live = None

    def tick(self, prepare: Callable[[], None]) -> None:
        """Refresh when it is time to, after a call of `prepare`; cheap otherwise."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every
            prepare()
            self._show(now)

    def note(self, message: RenderableType) -> None:
        """Print above the live table."""
        self.console.print(message, highlight=False)

    def _mark(self, now: float) -> None:
        for rates in (self._speed, self._pace):
            rates.mark(now, self.progress.step, self.progress.updates)

    def _show(self, now: float) -> None:
        self._mark(now)
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        else:
            self.console.print(self._line(), highlight=False, soft_wrap=True)

    def _counters(self) -> dict[str, str]:
        p = self.progress
        steps_per_second, updates_per_second = self._speed.rates()
        frames = f" ({p.frames:,} frames)" if p.action_repeat > 1 else ""
        return {
            "step": f"{p.step:,}/{p.steps:,}{frames}",
            "updates": f"{p.updates:,}",
            "steps/s": f"{steps_per_second:,.1f}",
            "updates/s": f"{updates_per_second:,.2f}",
            "ETA": _duration(self._pace.left(max(p.steps - p.step, 0))),
            "return": "-" if p.last_return is None else f"{p.last_return:,.2f}",
            "replay": f"{p.windows:,}/{p.capacity:,}",
        }

    def _line(self) -> str:
        p = self.progress
        parts = [f"{name} {value}" for name, value in self._counters().items()]
        if p.prefilling:
            parts.append(f"prefill {p.windows:,}/{p.prefill:,} {p.counted}")
        parts += [f"{name} {value:.3g}" for name, value in p.losses.items()]
        return " | ".join(parts + ([p.evaluation] if p.evaluation else []))

    def _table(self) -> RenderableType:
        p = self.progress
        counters = Table.grid(padding=(0, 2))
        values = self._counters()
        counters.add_row(*(Text(name, style="dim") for name in values))
        counters.add_row(*values.values())
        done, total = (p.windows, p.prefill) if p.prefilling else (p.step, p.steps)
        bar = Table.grid(padding=(0, 2))
        label = f"{p.env} fills its replay before it learns" if p.prefilling else p.env
        bar.add_row(
            Text(label, style="bold"), ProgressBar(total=max(total, 1), completed=done, width=40)
        )
        losses = "  ".join(f"{name} {value:.3g}" for name, value in p.losses.items())
        texts = [Text(line) for line in (losses, p.evaluation) if line]
        return Group(bar, counters, *texts)


def describe(facts: Mapping[str, Any]) -> Table:
    """A two-column table of facts, printed before a run."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(Text(name, style="dim"), Text(str(value)))
    return table


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else str(timedelta(seconds=int(seconds)))
