"""What a run has written, read again: settings, numbers by name, episodes, machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from dreamer_plugin.config import Config, load_config
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.folder import RunFolder, find_run
from dreamer_plugin.run.machine import read_machines
from dreamer_plugin.run.metrics import JSONL, read_metrics

RECENT = 10  # episodes that a return is a mean of
AXES = ("step", "seconds", "waited", "frames", "updates", "env")
COUNTERS = {"step", "seconds", "frames", "updates"}  # of each row that a run writes
RETURN = "episode/return"

Series = tuple[list[float], list[float]]


@dataclass(frozen=True)
class RunRecord:
    """A run as it lies on the disk.

    Args:
        path: its folder. name: of the folder, for legends. cfg: of the run.
        rows: of `metrics.jsonl`, oldest first. machines: of `machine.jsonl`.
    """

    path: Path
    name: str
    cfg: Config
    rows: list[dict[str, Any]]
    machines: list[dict[str, Any]]

    @property
    def names(self) -> list[str]:
        """Of all numbers that were logged, in the order of their first row."""
        return list(dict.fromkeys(key for row in self.rows for key in row if key not in AXES))

    def series(self, name: str, axis: str = "step") -> Series:
        """The values of a number and where on an axis they stand; those not finite left out.

        So are those of rows without the axis, which a program of the user may have added.
        """
        rows = [row for row in self.rows if None not in (row.get(axis), row.get(name))]
        return [float(row[axis]) for row in rows], [float(row[name]) for row in rows]

    def returns(self, axis: str = "step") -> Series:
        """Mean return of the last ten episodes at the end of each training episode."""
        x, y = self.series(RETURN, axis)
        return x, running_mean(y)

    def last(self, name: str) -> float | None:
        """The value that was logged last."""
        values = self.series(name)[1]
        return values[-1] if values else None

    def summary(self) -> dict[str, Any]:
        """The run in a few numbers, by what they are."""
        own = [row for row in self.rows if row.keys() >= COUNTERS]
        last = own[-1] if own else {}
        returns = self.returns()[1]
        facts = _best_facts(self.path)
        seconds = last.get("seconds", 0.0)
        return {
            "env": self.cfg.env.id,
            "agent": f"{self.cfg.agent}, size {self.cfg.size}, seed {self.cfg.seed}",
            "agent steps": last.get("step", 0),
            "frames": last.get("frames", 0),
            "updates": last.get("updates", 0),
            "hours": seconds / 3600,
            "steps per second": last.get("step", 0) / seconds if seconds else None,
            "episodes": len(returns),
            f"return, last {RECENT} episodes": returns[-1] if returns else None,
            f"best of these, each over {RECENT}": max(returns[RECENT - 1 :], default=None),
            "best checkpoint": facts.get("value"),
            "at step": facts.get("step"),
        }


def read_run(path: str | Path) -> RunRecord:
    """Read a run.

    Args:
        path: of its folder.

    Raises:
        UsageError: when there is no run, it has logged nothing, or one checkpoint of it is meant.
    """
    folder = find_run(path)
    if folder is None:
        raise UsageError(f"{path} is not a run folder: it has no config.yaml.")
    if checkpoint.is_checkpoint(Path(path)):  # what is logged is of no single one
        raise UsageError(
            f"{path} is one checkpoint, and a whole run is read here: name {folder}; "
            "`dreamer-plugin evaluate` looks at one checkpoint."
        )
    if not (folder / JSONL).is_file():
        raise UsageError(
            f"{folder} has no {JSONL}: nothing was trained in it yet, or it was "
            "saved from Python, which logs only into a run.logdir."
        )
    name = folder.resolve().name
    cfg = load_config(RunFolder(folder).config_path)
    return RunRecord(folder, name, cfg, read_metrics(folder), read_machines(folder))


def read_runs(paths: Sequence[str | Path]) -> list[RunRecord]:
    """Read runs; those of one name are told apart by their folders."""
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else _renamed(run, str(run.path.resolve()))
        for run in runs
    ]


def running_mean(values: Sequence[float], width: int = RECENT) -> list[float]:
    """Mean of each value and those before it, `width` at most."""
    return [fmean(values[max(0, end - width) : end]) for end in range(1, len(values) + 1)]


def _best_facts(run: Path) -> dict[str, Any]:
    """What the best checkpoint says of itself; that it is damaged, where it is."""
    best = checkpoint.best(RunFolder(run).checkpoints)
    try:
        return {} if best is None else checkpoint.meta(best)
    except CheckpointError:
        return {"value": "damaged"}


def _renamed(run: RunRecord, name: str) -> RunRecord:
    return RunRecord(run.path, name, run.cfg, run.rows, run.machines)
