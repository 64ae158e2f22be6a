"""Published learning curves of the Dreamers, where a task has one; sources stand in NOTICE."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from dreamer_plugin.config import Config

FILE = Path(__file__).parent / "published" / "curves.csv"
# The agent of a curve -> the preset whose protocol it was made with.
PRESETS = {"v1": "v1", "v2": "v2", "v3": "v3_2024"}
# Suites whose curves an earlier release holds too, number for number -> the preset of that release.
# They were run before the later agent was written: docs/adr/0009.
EARLIER = {"dmc_proprio": "v3_2023"}
PIXELS, VISION = "pixels", "dmc_vision"
NUMBERS = ("dmc_proprio",)  # suites whose agents see vectors; those of all others, images alone


@dataclass(frozen=True)
class Curve:
    """Mean of a few seeds in bins of frames, `N` of them.

    Args:
        agent: v1, v2 or v3. suite: as the source calls it. env: id of the task.
        seeds: most of any bin, 0 where the source does not say.
        since, frames: `[N]`, a bin holds what came after `since`, up to `frames` and with it.
        mean, std: `[N]`, over the seeds.
    """

    agent: str
    suite: str
    env: str
    seeds: int
    since: list[int]
    frames: list[int]
    mean: list[float]
    std: list[float]

    @property
    def seen(self) -> str:
        """What its agent saw: `pixels` where the suite can be seen in two ways, else nothing."""
        return PIXELS if self.suite == VISION else ""

    @property
    def sees_numbers(self) -> bool:
        """Whether its agent saw vectors."""
        return self.suite in NUMBERS

    @property
    def presets(self) -> list[str]:
        """Presets whose protocol it goes by: what its paper states, then an earlier release's."""
        return [PRESETS[self.agent], *([EARLIER[self.suite]] if self.suite in EARLIER else [])]

    @property
    def band(self) -> tuple[list[float], list[float]]:
        """Ends of a standard deviation around the mean, `[N]` each."""
        pairs = list(zip(self.mean, self.std, strict=True))
        return [mean - std for mean, std in pairs], [mean + std for mean, std in pairs]


def curves() -> list[Curve]:
    """All that are shipped, by agent, suite and task."""
    with FILE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    grouped = groupby(rows, key=lambda row: (row["agent"], row["suite"], row["env"]))
    return [_curve(*names, list(some)) for names, some in grouped]


def published(cfg: Config) -> Curve | None:
    """The curve of a run's task, seen as the run sees it; None where none was published.

    That of its own agent where there is one, else that of V3.
    """
    return curve_of(cfg.env.id, seen(cfg), cfg.agent.partition("_")[0])


def curve_of(env: str, seen: str, agent: str) -> Curve | None:
    """The curve of an agent, else that of V3.

    Args:
        env: id of the task. seen: as of `Curve`. agent: v1, v2 or v3.
    """
    found = {each.agent: each for each in curves() if (each.env, each.seen) == (env, seen)}
    return found.get(agent, found.get("v3"))


def seen(cfg: Config) -> str:
    """What a run sees, as of `Curve`."""
    alone = cfg.env.id.startswith("dmc/") and cfg.env.options.get("obs") == PIXELS
    return PIXELS if alone else ""


def _curve(agent: str, suite: str, env: str, rows: list[dict[str, str]]) -> Curve:
    return Curve(
        agent=agent,
        suite=suite,
        env=env,
        seeds=max(int(row["seeds"] or 0) for row in rows),
        since=[int(row["since"]) for row in rows],
        frames=[int(row["frames"]) for row in rows],
        mean=[float(row["mean"]) for row in rows],
        std=[float(row["std"]) for row in rows],
    )
