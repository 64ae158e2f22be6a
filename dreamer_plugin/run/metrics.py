"""Numbers of a run: averaged where they were computed, written as JSON lines and more."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dreamer_plugin.config.yamlfile import write_text

JSONL = "metrics.jsonl"
TIMES = frozenset({"seconds", "waited"})  # columns that say how long it took, not what was computed


class Sink(Protocol):
    """What takes the rows and films of a run beside `metrics.jsonl`; see `sinks.py`."""

    def row(self, step: int, values: Mapping[str, float], axes: Mapping[str, float]) -> None:
        """As of `MetricsLog.write`."""

    def film(self, step: int, name: str, file: Path) -> None:
        """As of `MetricsLog.film`."""

    def close(self) -> None:
        """Flush and close."""


class MeanMetrics:
    """Means of 0-d tensors over many updates, without waiting for the device before `drain`."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the metrics of one update, 0-d tensors of one device."""
        names = tuple(values)
        row = torch.stack([value.detach().float() for value in values.values()])
        self._sums[names] = self._sums[names] + row if names in self._sums else row
        self._counts[names] = self._counts.get(names, 0) + 1

    def means(self) -> dict[str, float]:
        """Means since the last `drain`; one copy to the host per set of names."""
        sums, counts = Counter[str](), Counter[str]()
        for names, total in self._sums.items():
            for name, value in zip(names, total.tolist(), strict=True):
                sums[name] += value
                counts[name] += self._counts[names]
        return {name: value / counts[name] for name, value in sums.items()}

    def drain(self) -> dict[str, float]:
        """Means since the last call, and begin anew."""
        means = self.means()
        self._sums.clear()
        self._counts.clear()
        return means

    def state_dict(self) -> list[dict[str, Any]]:
        """What was added since the last `drain`."""
        return [
            {"names": list(names), "sum": total, "count": self._counts[names]}
            for names, total in self._sums.items()
        ]

    def load_state_dict(self, state: list[dict[str, Any]], device: torch.device | str) -> None:
        """The inverse of `state_dict`; the sums are kept on `device`."""
        self._sums = {tuple(row["names"]): row["sum"].to(device) for row in state}
        self._counts = {tuple(row["names"]): row["count"] for row in state}


class MetricsLog:
    """Appends rows to `metrics.jsonl`, and to whatever else takes them, all by agent step.

    Args:
        folder: the run folder.
        resumed_at: agent step of the checkpoint that the run continues from, 0 where it had none
            yet; what a killed run had logged after it is dropped, since those steps are run again.
        sinks: make what else takes the rows, from the folder and `resumed_at`.
    """

    def __init__(
        self,
        folder: Path,
        resumed_at: int | None = None,
        sinks: Sequence[Callable[[Path, int | None], Sink]] = (),
    ) -> None:
        self._path = folder / JSONL
        if resumed_at is not None and self._path.exists():
            _drop_rows_after(self._path, resumed_at)
        self._file = self._path.open("a", encoding="utf-8")
        self._sinks = [make(folder, resumed_at) for make in sinks]

    def write(self, step: int, values: Mapping[str, float], **axes: float) -> None:
        """Write one row.

        Args:
            step: agent steps over all envs, reset frames included.
            values: name -> number; a number that is not finite becomes `null` in the JSON.
            axes: further axes of the row (frames, updates, seconds), not plotted.
        """
        row = {"step": step, **axes, **values}
        self._file.write(json.dumps({name: finite(value) for name, value in row.items()}) + "\n")
        self._file.flush()
        for sink in self._sinks:
            sink.row(step, values, axes)

    def film(self, step: int, name: str, file: Path) -> None:
        """Show a film `name`, a GIF, wherever films are shown."""
        for sink in self._sinks:
            sink.film(step, name, file)

    def close(self) -> None:
        """Flush and close all of it."""
        self._file.close()
        for sink in self._sinks:
            sink.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All whole rows of a run's `metrics.jsonl`; a line cut by a kill or damaged is left out."""
    rows = []
    for line in (folder / JSONL).read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), (int, float)):
            rows.append(row)
    return rows


def finite(value: float) -> float | None:
    """None in the place of a number that JSON cannot say."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _drop_rows_after(path: Path, step: int) -> None:
    rows = [row for row in read_metrics(path.parent) if row["step"] <= step]
    write_text("".join(json.dumps(row) + "\n" for row in rows), path)
