"""What a contest found: curves, estimates by rliable, a table, and one page with all of it.

curves.csv    a row per agent, seed and evaluation
summary.csv   a row per agent: interquartile mean over the seeds with its interval, and more
curves.svg    mean returns over steps
report.html   curves over steps and over seconds, estimates, performance profiles, settings
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.machine import read_machines
from dreamer_plugin.run.scores import CONFIDENCE, RESAMPLES
from dreamer_plugin.study import page
from dreamer_plugin.study.baselines import EXTRA
from dreamer_plugin.study.charts import Line, line_chart, standing_alone
from dreamer_plugin.study.contest import Contest, evaluations, failures, grid
from dreamer_plugin.study.evaluation_files import write_rows

Array = npt.NDArray[np.float64]
_COLUMNS = "step", "seconds", "eval/mean"
_FILES = "curves.csv", "summary.csv", "curves.svg", "report.html"


@dataclass(frozen=True)
class Curve:
    """One cell.

    Args:
        agent, seed: of it. steps, seconds: `[E]` of each evaluation. means: `[E]` mean returns.
    """

    agent: str
    seed: int
    steps: list[float]
    seconds: list[float]
    means: list[float]

    def at(self, step: float) -> float:
        """The mean of the first evaluation at or after a step; not a number where there is none."""
        pairs = zip(self.steps, self.means, strict=True)
        return next((mean for reached, mean in pairs if reached >= step), float("nan"))


def require_rliable() -> None:
    """Refuse to begin without the library of the estimates."""
    if find_spec("rliable") is None:
        raise UsageError(f"compare needs the package rliable: {EXTRA}")


def read_curves(contest: Contest, folder: Path) -> list[Curve]:
    """Curves of the cells that were evaluated at least once."""
    curves = []
    for cell in contest.cells():
        rows = evaluations(folder / cell.name)
        if rows:
            columns = ([float(row[key]) for row in rows] for key in _COLUMNS)
            curves.append(Curve(cell.agent, cell.seed, *columns))
    return curves


def write_results(contest: Contest, folder: Path, draws: int = RESAMPLES) -> list[Path]:
    """Write the files.

    Args:
        contest, folder: of the cells. draws: of the bootstraps.

    Returns:
        Those that were written; without any evaluation there is no picture.
    """
    curves = read_curves(contest, folder)
    scores = {
        agent: np.array([[c.at(grid(contest)[-1])] for c in curves if c.agent == agent])
        for agent in contest.agents
    }
    scores = {agent: rows[~np.isnan(rows[:, 0])] for agent, rows in scores.items() if len(rows)}
    scores = {agent: rows for agent, rows in scores.items() if len(rows)}
    files = [folder / name for name in _FILES]
    write_rows(files[0], ("agent", "seed", "step", "seconds", "mean"), _curve_rows(curves))
    estimated = estimates(scores, draws)
    header = ("agent", "seeds", "iqm", "low", "high", "mean", "best seed", "worst seed", "seconds")
    ended = [curve for curve in curves if not np.isnan(curve.at(grid(contest)[-1]))]
    summary = list(_summary_rows(scores, estimated, ended))
    write_rows(files[1], header, summary)
    parts = _sections(contest, folder, curves, scores, estimated, (header, summary))
    title = f"{contest.env}: {', '.join(contest.agents)}"
    files[3].write_text(page.page(title, parts), encoding="utf-8")
    if not (chart := standing_alone(_by_step(contest, curves))):
        return [*files[:2], files[3]]  # no cell was evaluated yet
    files[2].write_text(chart, encoding="utf-8")
    return files


@dataclass(frozen=True)
class Estimates:
    """Of rliable, each with the ends of its interval.

    Args:
        iqm: agent -> interquartile mean over seeds.
        improvement: (a, b) -> probability that a run of a is better than one of b.
        taus, profiles: scores `[P]`; agent -> share `[P]` of the seeds above each, low, high.
    """

    iqm: dict[str, tuple[float, float, float]]
    improvement: dict[tuple[str, str], tuple[float, float, float]]
    taus: list[float]
    profiles: dict[str, tuple[list[float], list[float], list[float]]]


def estimates(scores: Mapping[str, Array], draws: int = RESAMPLES, seed: int = 0) -> Estimates:
    """Estimates over seeds, with stratified bootstraps.

    Source: Agarwal et al. 2021, the library rliable.

    Args:
        scores: agent -> `[seeds, 1]`. draws: of the bootstraps. seed: of the draws.
    """
    if not scores:
        return Estimates({}, {}, [], {})
    from rliable import library, metrics

    options: dict[str, Any] = {"reps": draws, "confidence_interval_size": CONFIDENCE}
    with warnings.catch_warnings(), _seeded(seed):
        warnings.simplefilter("ignore")  # of how it seeds its own generator
        iqm = library.get_interval_estimates(
            scores, lambda x: np.array([metrics.aggregate_iqm(x)]), **options
        )
        pairs = {
            f"{a},{b}": (scores[a], scores[b]) for a in scores for b in scores if a != b
        }  # its own way to name a pair
        better = library.get_interval_estimates(
            pairs, metrics.probability_of_improvement, **options
        ) if pairs else ({}, {})  # fmt: skip
        taus = np.linspace(*_span(scores), 51)
        profiles, bands = library.create_performance_profile(
            dict(scores), taus, reps=draws, confidence_interval_size=CONFIDENCE
        )
    return Estimates(
        iqm={name: _three(value, iqm[1][name]) for name, value in iqm[0].items()},
        improvement={
            _pair(name): _three(value, better[1][name]) for name, value in better[0].items()
        },
        taus=taus.tolist(),
        profiles={
            name: (share.tolist(), bands[name][0].tolist(), bands[name][1].tolist())
            for name, share in profiles.items()
        },
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator, which rliable draws from, with a seed; then as it was."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _span(scores: Mapping[str, Array]) -> tuple[float, float]:
    every = np.concatenate([rows.ravel() for rows in scores.values()])
    return float(every.min()), float(every.max())


def _pair(name: str) -> tuple[str, str]:
    first, _, second = name.partition(",")
    return first, second


def _three(value: Any, ends: Any) -> tuple[float, float, float]:
    low, high = np.asarray(ends, np.float64).reshape(2, -1)[:, 0]
    return float(np.asarray(value).ravel()[0]), float(low), float(high)


def _curve_rows(curves: Iterable[Curve]) -> Iterable[Sequence[Any]]:
    for curve in curves:
        for row in zip(curve.steps, curve.seconds, curve.means, strict=True):
            yield curve.agent, curve.seed, *row


def _summary_rows(
    scores: Mapping[str, Array], found: Estimates, curves: Sequence[Curve]
) -> Iterable[Sequence[Any]]:
    for agent, rows in scores.items():
        each = rows[:, 0]
        seconds = [curve.seconds[-1] for curve in curves if curve.agent == agent]
        ends = float(each.mean()), float(each.max()), float(each.min())
        yield agent, len(each), *found.iqm[agent], *ends, float(np.mean(seconds))


def _sections(
    contest: Contest,
    folder: Path,
    curves: Sequence[Curve],
    scores: Mapping[str, Array],
    found: Estimates,
    summary: tuple[Sequence[str], Sequence[Sequence[Any]]],
) -> Iterable[str]:
    yield page.section(
        "Results",
        page.table(*summary),
        note=f"Mean return of {contest.episodes} episodes after {grid(contest)[-1]:,} steps, of "
        f"each seed; interquartile mean over the seeds with its {CONFIDENCE:.0%} interval.",
    )
    yield page.section(
        "Curves",
        page.charts([_by_step(contest, curves), _by_seconds(contest, curves)]),
        note="Bands reach from the worst to the best seed. Seconds are of training, evaluations "
        "left out.",
    )
    rows = [(a, b, *three) for (a, b), three in found.improvement.items()]
    yield page.section(
        "Probability of improvement",
        page.table(("X", "Y", "P(X > Y)", "low", "high"), rows),
        note="That a run of X ends better than one of Y.",
    )
    yield page.section("Performance profiles", page.charts([_profiles(contest, found)]))
    settings = [(agent, contest.settings[agent]) for agent in contest.agents]
    yield page.section(
        "Settings", page.table(("agent", "settings"), settings), _conditions(contest)
    )
    machines = {cell.name: read_machines(folder / cell.name) for cell in contest.cells()}
    yield page.section("Versions and hardware", page.machines(machines))
    broken = failures(contest, folder)
    yield page.section("Failed", page.table(("cell", "why"), broken.items()))


def _conditions(contest: Contest) -> str:
    text = (
        f"All agents see the env {contest.env} through the same adapter, with the options above, "
        f"and are evaluated by the same code on {contest.episodes} episodes every "
        f"{contest.eval_every:,} steps: "
        "those of Stable-Baselines3 with their likeliest actions, a Dreamer as its authors did. "
        "A Dreamer counts reset frames as steps, the others do not."
    )
    return f"<p>{escape(text)}</p>"


def _by_step(contest: Contest, curves: Sequence[Curve]) -> str:
    lines = []
    steps = list(grid(contest))
    for colour, agent in enumerate(contest.agents):
        rows = np.array([[c.at(step) for step in steps] for c in curves if c.agent == agent])
        if rows.size:
            low, mid, high = (_over_seeds(rows, how) for how in (np.min, np.mean, np.max))
            lines.append(Line(agent, steps, mid, colour, low=low, high=high))
    return line_chart("mean return of evaluations", "steps", lines)


def _over_seeds(rows: Array, how: Any) -> list[float | None]:
    """`[seeds, E] -> [E]`, over the seeds that came so far."""
    columns = [column[~np.isnan(column)] for column in rows.T]
    return [float(how(column)) if len(column) else None for column in columns]


def _by_seconds(contest: Contest, curves: Sequence[Curve]) -> str:
    named: set[str] = set()
    lines = []
    for curve in curves:
        name = "" if curve.agent in named else curve.agent
        named.add(curve.agent)
        lines.append(Line(name, curve.seconds, curve.means, contest.agents.index(curve.agent)))
    return line_chart("mean return of evaluations", "seconds of training", lines)


def _profiles(contest: Contest, found: Estimates) -> str:
    lines = [
        Line(agent, found.taus, share, contest.agents.index(agent), False, low, high)
        for agent, (share, low, high) in found.profiles.items()
    ]
    return line_chart("share of seeds that end above", "return", lines)
