"""What differs from the published protocol: rows with reasons, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dreamer_plugin.config.fields import OPTIONS
from dreamer_plugin.config.history import HISTORY_FILE, History, continued, saved_history
from dreamer_plugin.config.machine import Machine
from dreamer_plugin.config.secrets import hidden
from dreamer_plugin.config.stack import MACHINE, Merged
from dreamer_plugin.config.yamlfile import write_text

# Settings that a published score depends on.
COMPARED = (
    "size",
    "env.num_envs",
    "env.terminal_on_timeout",
    "run.steps",
    "run.train_ratio",
    "run.burst",
    "run.pretrain",
    "run.prefill",
    "run.random_prefill",
)
COMPARED_SECTIONS = tuple(
    f"{name}."
    for name in (OPTIONS, "model", "nets", "world", "behavior", "loss_scales", "optim", "replay")
)
PLACES = ("replay.storage", "replay.folder")  # where the same records lie
SHOWN_OF_ONE_FILE = 3
SHORT = 30  # characters


@dataclass(frozen=True)
class Row:
    """One setting that is not the published one.

    Args:
        setting: dotted name. published, here: values. why: the reason. restore: what to pass or
            leave out for the published value. neutral: whether results stay the same.
    """

    setting: str
    published: Any
    here: Any
    why: str
    restore: str
    neutral: bool = False


@dataclass(frozen=True)
class Needs:
    """Bytes that a run takes.

    Args:
        replay: in main memory, or on disk. training: where the model is.
        disk: a replay there with the checkpoints beside it; 0 for one in main memory.
    """

    replay: int = 0
    training: int = 0
    disk: int = 0


@dataclass(frozen=True)
class LayersReport:
    """What differs from the published protocol and why; rich can print it.

    Args:
        protocol: `"published"` or `"reduced"`.
        against: file of the protocol, or of the agent where the suite has none.
        rows: one for each differing setting.
        settings: dotted name -> value, the machine layer itself.
        machine, needs: None where nobody looked.
        history: dotted name -> every (value, source) it had, the valid one last.
    """

    protocol: str = "published"
    against: str = ""
    rows: list[Row] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    machine: Machine | None = None
    needs: Needs | None = None
    history: History = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON, without secrets."""
        history = {
            key: [(hidden(key, value), source) for value, source in values]
            for key, values in self.history.items()
        }
        return asdict(replace(self, history=history))

    def save(self, run_dir: str | Path) -> None:
        """Write `layers.json` into a run folder, so that `show RUN --why KEY` can answer.

        In a run that goes on it takes the place of the earlier one, whose history it continues.
        """
        history = continued(saved_history(Path(run_dir)), self.history)
        text = json.dumps(replace(self, history=history).to_dict(), indent=1)
        write_text(f"{text}\n", Path(run_dir) / HISTORY_FILE)

    def __rich__(self) -> RenderableType:
        """A table of the rows and a line on memory."""
        parts: list[RenderableType] = []
        if self.rows:
            parts.append(rows_table(self.rows, f"Differs from {self.against}"))
        parts.append(Text(f"Protocol: {self.protocol}. {self.memory_line()}".strip()))
        return Group(*parts)

    def memory_line(self) -> str:
        """Sentence on the memory needed, empty when unknown."""
        if self.needs is None or self.machine is None:
            return ""
        gpu = self.machine.gpu
        where = f" on {gpu} ({size_text(self.machine.gpu_free)} free)" if gpu else ""
        free = size_text(self.machine.free)
        replay, training = size_text(self.needs.replay), size_text(self.needs.training)
        if not self.needs.disk:
            return f"Memory: replay {replay} of {free} free, training about {training}{where}."
        disk, room = size_text(self.needs.disk), size_text(self.machine.disk)
        with_them = f", with checkpoints {disk}," * (self.needs.disk > self.needs.replay)
        where = where or f" of {free} free"
        return (
            f"Disk: replay {replay}{with_them} of {room} free. "
            f"Memory: training about {training}{where}."
        )


def deviations(published: Merged, final: Merged, machine: Mapping[str, Any]) -> list[Row]:
    """Rows for what the user set differently from the published files.

    Args:
        published: without machine and user.
        final: with both.
        machine: settings of the machine layer, which has its own rows.
    """
    by_source: dict[str, list[Row]] = {}
    for key in final.history:
        source = final.source(key)
        before, here = published.value(key), final.value(key)
        same = here in (before, final.widths.get(key, before))  # a size has one row for all
        if same or not compared(key) or key in machine:
            continue
        neutral = key == "replay.capacity" and final.value(key) >= final.config.run.steps
        why, restore = "you set it", f"leave out {source}"
        if source == MACHINE:  # of a saved run, for the present one is in `machine`
            why, restore = "as the run began", "a new run"
        row = Row(key, hidden(key, before), hidden(key, here), why, restore, neutral)
        by_source.setdefault(source, []).append(row)
    return [row for source, rows in by_source.items() for row in _summed(source, rows)]


def _summed(source: str, rows: list[Row]) -> list[Row]:
    """One row for a file that changes many settings."""
    if len(rows) <= SHOWN_OF_ONE_FILE:
        return rows
    neutral = all(row.neutral for row in rows)
    return [Row(f"{len(rows)} settings", "", "", "you set it", f"leave out {source}", neutral)]


def compared(key: str) -> bool:
    """Whether a published score depends on a setting."""
    return key not in PLACES and (key in COMPARED or key.startswith(COMPARED_SECTIONS))


def rows_table(rows: list[Row], title: str = "") -> Table:
    """A rich table of the rows; nothing is cut off, long cells wrap."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("setting", no_wrap=True)
    for column in ("published", "here", "why"):
        table.add_column(column, overflow="fold")
    # An option stays on one line, to be copied; the name of a file may be too long for that.
    short = all(len(row.restore) <= SHORT for row in rows)
    table.add_column("to restore", overflow="fold", no_wrap=short)
    for row in rows:
        why = f"{row.why} (changes nothing)" if row.neutral else row.why
        cells = (row.setting, _shown(row.published), _shown(row.here), why, row.restore)
        table.add_row(*(Text(cell) for cell in cells))  # as text, for "[1]" is no markup
    return table


def size_text(count: float) -> str:
    """Bytes in words: `3.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _shown(value: Any) -> str:
    if value is None:
        return "default"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
