"""Two runs beside each other: settings, machines, results, and where their numbers part."""

from __future__ import annotations

from typing import Any

from dreamer_plugin.config import changed_keys
from dreamer_plugin.run.metrics import TIMES
from dreamer_plugin.study.run_record import RunRecord

_TIMES = TIMES | {"time"}  # of which machines note one


def difference(a: RunRecord, b: RunRecord) -> dict[str, Any]:
    """What differs between two runs.

    Returns:
        `settings` and `machine`: name -> [of a, of b]. `results`: name -> [of a, of b], also of
        those that are equal. `parted`: the first logged row whose numbers differ, as
        {"row", "step", "name", "values"}; None where all rows that both have are equal, whose
        number is `rows`.
    """
    parted, rows = _parting(a, b)
    return {
        "runs": [str(a.path), str(b.path)],
        "settings": changed_keys([a.cfg, b.cfg]),
        "machine": _machines(a, b),
        "results": _results(a, b),
        "parted": parted,
        "rows": rows,
    }


def _machines(a: RunRecord, b: RunRecord) -> dict[str, list[Any]]:
    first, second = ((run.machines or [{}])[-1] for run in (a, b))
    names = [name for name in {**first, **second} if name not in {*_TIMES, "step"}]
    pairs = {name: [first.get(name, "not noted"), second.get(name, "not noted")] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _results(a: RunRecord, b: RunRecord) -> dict[str, list[Any]]:
    """Summaries, the mean return up to the last step that both reached, and last logged numbers."""
    first, second = a.summary(), b.summary()
    results = {k: [first[k], second[k]] for k in first if k not in ("env", "agent")}
    common = min(run.rows[-1]["step"] if run.rows else 0 for run in (a, b))
    results[f"return at step {common:,}"] = [_return_at(run, common) for run in (a, b)]
    names = [name for name in a.names if name in b.names and not name.startswith("episode/")]
    return results | {name: [a.last(name), b.last(name)] for name in names}


def _return_at(run: RunRecord, step: float) -> float | None:
    x, y = run.returns()
    before = [value for at, value in zip(x, y, strict=True) if at <= step]
    return before[-1] if before else None


def _parting(a: RunRecord, b: RunRecord) -> tuple[dict[str, Any] | None, int]:
    """The first difference in what was computed, and how many rows before it are equal."""
    number = 0
    for number, (ours, theirs) in enumerate(zip(a.rows, b.rows, strict=False)):
        for name in {**ours, **theirs}:
            values = [ours.get(name), theirs.get(name)]
            if name not in _TIMES and values[0] != values[1]:
                found = {"row": number, "step": ours["step"], "name": name, "values": values}
                return found, number
    return None, min(len(a.rows), len(b.rows))
