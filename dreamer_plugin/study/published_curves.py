"""Published learning curves of DreamerV3, where a run's task has one; sources stand in NOTICE."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from dreamer_plugin.config import Config

FILE = Path(__file__).parent / "published" / "curves.csv"


@dataclass(frozen=True)
class Curve:
    """Mean of a few seeds in 25 bins of frames.

    Args:
        suite: as the source calls it. seeds: most of any bin.
        frames, mean, std: `[25]` or less; frames at the end of each bin, std over the seeds.
    """

    suite: str
    seeds: int
    frames: list[float]
    mean: list[float]
    std: list[float]


def published(cfg: Config) -> Curve | None:
    """The curve of a run's task, seen as the run sees it; None where none was published."""
    suite, task = _source(cfg)
    with FILE.open(newline="", encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["suite"] == suite and _plain(row["task"].partition("_")[2]) == task
        ]
    if not rows:
        return None
    return Curve(
        suite=suite,
        seeds=max(int(row["seeds"]) for row in rows),
        frames=[float(row["frames"]) for row in rows],
        mean=[float(row["mean"]) for row in rows],
        std=[float(row["std"] or 0) for row in rows],
    )


def _source(cfg: Config) -> tuple[str, str]:
    """The suite as the source calls it, and the task without its marks."""
    suite, _, task = cfg.env.id.partition("/")
    seen = "vision" if cfg.env.options.get("obs") == "pixels" else "proprio"
    names = {"atari": "atari57", "atari100k": "atari100k", "dmc": f"dmc_{seen}"}
    return names.get(suite, ""), _plain(task)


def _plain(task: str) -> str:
    return re.sub(r"[^a-z0-9]", "", task.lower())
