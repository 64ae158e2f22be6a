"""What the runs of a reproduction came to, from their folders and from what was recorded of others.

The runs of one reproduction may be made on several machines, each of which records its own:
`together` makes one finding of what was recorded and what is new.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.machine import read_machines
from dreamer_plugin.run.metrics import JSONL, read_metrics
from dreamer_plugin.study import cells
from dreamer_plugin.study.published_curves import Curve, curve_of
from dreamer_plugin.study.reproduce import Reproduction, both, other_protocol, plan_of
from dreamer_plugin.study.run_record import RETURN

RESULT, SEEDS = "result.json", "seeds.csv"


@dataclass(frozen=True)
class SeedCurve:
    """One cell, at the bins of the published curve that it has passed.

    Args:
        variant, seed: of it. episodes: `[M]` that ended in each bin.
        means: `[M]` of their returns, None where none ended.
    """

    variant: str
    seed: int
    episodes: list[int]
    means: list[float | None]


@dataclass(frozen=True)
class Ran:
    """What one cell came to.

    Args:
        facts: variant, seed, whether it is done, frames, updates, seconds, machines.
        curve: None before the end of the first bin. failed: why, empty if it did not.
    """

    facts: dict[str, Any]
    curve: SeedCurve | None
    failed: str = ""


@dataclass(frozen=True)
class Found:
    """What a reproduction came to so far.

    Args:
        plan: what is run. ran: every cell by its name.
    """

    plan: Reproduction
    ran: dict[str, Ran]

    @property
    def curves(self) -> list[SeedCurve]:
        """Of every cell that has passed a bin."""
        return [each.curve for each in self.ran.values() if each.curve]

    @property
    def failed(self) -> dict[str, str]:
        """Cells that failed -> why."""
        return {name: each.failed for name, each in self.ran.items() if each.failed}


def curve_to_reach(plan: Reproduction) -> Curve:
    """The published curve, as far as the runs go.

    Raises:
        UsageError: when they end before its first bin does.
    """
    curve = curve_of(plan.env, plan.seen, plan.curve)
    if curve is None:
        raise UsageError(f"No curve of {plan.env} is shipped any more.")
    count = sum(frames <= plan.frames for frames in curve.frames)
    if not count:
        raise UsageError(
            f"{plan.frames:,} frames end before the first point of the published curve: "
            f"--budget {curve.frames[0]} or more."
        )
    return replace(
        curve,
        since=curve.since[:count],
        frames=curve.frames[:count],
        mean=curve.mean[:count],
        std=curve.std[:count],
    )


def find(plan: Reproduction, folder: Path) -> Found:
    """What the cells of a folder came to."""
    curve, failed = curve_to_reach(plan), cells.failures(plan.names(), folder)
    ran = {}
    for name, (variant, seed) in plan.names().items():
        place = folder / name
        rows = read_metrics(place) if (place / JSONL).is_file() else []
        done, last = cells.done(place), rows[-1] if rows else {}
        finished = done is not None and done["steps"] >= plan.steps
        facts = {"variant": variant, "seed": seed, "done": finished}
        facts |= {key: last.get(key, 0) for key in ("frames", "updates", "seconds")}
        facts |= {"machines": read_machines(place)}
        reached = max((int(row["frames"]) for row in rows), default=0)
        if rows and done:
            reached = max(reached, int(done["frames"]))
        episodes, means = _binned(curve, rows, reached)
        passed = SeedCurve(variant, seed, episodes, means) if episodes else None
        ran[name] = Ran(facts, passed, failed.get(name, ""))
    return Found(plan, ran)


def _binned(
    curve: Curve, rows: list[dict[str, Any]], reached: int
) -> tuple[list[int], list[float | None]]:
    """Episodes that ended in each bin that is passed, and the means of their returns."""
    returns = [
        (int(row["frames"]), float(row[RETURN])) for row in rows if row.get(RETURN) is not None
    ]
    bins = [
        [value for at, value in returns if since < at <= end]
        for since, end in zip(curve.since, curve.frames, strict=True)
        if end <= reached
    ]
    return [len(each) for each in bins], [fmean(each) if each else None for each in bins]


def read_recorded(place: Path) -> Found | None:
    """What was recorded in a folder, None where nothing was.

    Raises:
        UsageError: when a file of it is missing or damaged.
    """
    if not (place / RESULT).is_file():
        return None
    facts = read_result(place / RESULT)
    plan = plan_of(facts, place / RESULT)
    if not (place / SEEDS).is_file():
        raise UsageError(f"{place} has a {RESULT} without its {SEEDS}: put it back, or remove it.")
    passed: dict[tuple[str, int], SeedCurve] = {}
    with (place / SEEDS).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = row["variant"], int(row["seed"])
            curve = passed.setdefault(key, SeedCurve(*key, [], []))
            curve.episodes.append(int(row["episodes"]))
            curve.means.append(float(row["mean"]) if row["mean"] else None)
    runs = {(run["variant"], run["seed"]): run for run in facts["runs"]}
    ran = {
        name: Ran(runs[key], passed.get(key), facts["failed"].get(name, ""))
        for name, key in plan.names().items()
    }
    return Found(plan, ran)


def read_result(path: Path) -> dict[str, Any]:
    """What a `result.json` says.

    Raises:
        UsageError: when it is damaged.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is damaged: put it back, or remove its folder.") from error
    return facts


def together(recorded: Found | None, new: Found, place: Path) -> Found:
    """One finding of what was recorded and what is new; of a cell in both, what went further.

    Args:
        recorded: None where nothing was. new: of the same protocol. place: of what was recorded.

    Raises:
        UsageError: what was recorded differs from the published protocol in something else.
    """
    if recorded is None:
        return new
    refuse_other(recorded.plan, new.plan, place)
    settings = dict.fromkeys([*recorded.plan.settings, *new.plan.settings])
    plan = replace(both(recorded.plan, new.plan), settings=list(settings))
    nothing = {"done": False, "frames": 0, "updates": 0, "seconds": 0, "machines": []}
    ran = {}
    for name, (variant, seed) in plan.names().items():
        known = [found.ran[name] for found in (new, recorded) if name in found.ran]
        absent = Ran({"variant": variant, "seed": seed} | nothing, None)
        ran[name] = max(known, key=_reached, default=absent)
    return Found(plan, ran)


def _reached(ran: Ran) -> tuple[float, int]:
    """How far a run went, and in how many bins it is known."""
    return float(ran.facts["frames"]), len(ran.curve.means) if ran.curve else 0


def refuse_other(recorded: Reproduction, now: Reproduction, place: Path) -> None:
    """See that two plans learn the same.

    Raises:
        UsageError: they do not; says in what.
    """
    if other := other_protocol(recorded, now):
        raise UsageError(
            f"{place} holds results of something else: {'; '.join(other)}. Record into another "
            "folder, or remove that one first."
        )
