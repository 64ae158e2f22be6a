"""A report on one run or several: one HTML page with everything inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dreamer_plugin.config import changed_keys, config_text
from dreamer_plugin.errors import CheckpointError
from dreamer_plugin.run.evaluate import choose
from dreamer_plugin.run.scores import interquartile_mean
from dreamer_plugin.run.telling import tell
from dreamer_plugin.study import page
from dreamer_plugin.study.charts import Line, heat_map, line_chart
from dreamer_plugin.study.look import Look, look
from dreamer_plugin.study.published_curves import Curve, published
from dreamer_plugin.study.run_record import COUNTERS, RETURN, RunRecord, read_runs

LATENTS = ("kl", "post_entropy", "prior_entropy")
STEPS, HOURS = "agent steps", "hours"


def report(
    paths: Sequence[str | Path], episodes: int = 3, seed: int = 0, device: str = "auto"
) -> str:
    """The page.

    Args:
        paths: of run folders.
        episodes: to play with each run's best checkpoint, for what its world model shows; 0 plays
            none. seed, device: of that.

    Raises:
        UsageError: when one is no run, or has logged nothing.
    """
    runs = read_runs(paths)
    looks = {}
    for number, run in enumerate(runs if episodes else ()):
        tell("runs", number, len(runs))
        looks[run.name] = _look(run, episodes, seed, device)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return page.page(f"Dreamer: {title}", _sections(runs, looks))


def _sections(runs: Sequence[RunRecord], looks: Mapping[str, Look | str]) -> Iterable[str]:
    yield page.section("Runs", _summaries(runs))
    yield page.section("Returns", _returns(runs), note=_about_returns(runs))
    yield page.section("Losses", _charts(runs, "loss/"))
    yield page.section(
        "Latents", page.charts(_chart(runs, name) for name in LATENTS), note="In nats."
    )
    yield page.section(
        "Behavior",
        page.charts(_chart(runs, name) for name in _names(runs) if _of_behavior(name)),
    )
    yield page.section("Gradient norms", _charts(runs, "grad_norm/"), note="Before clipping.")
    yield page.section("Throughput", page.charts(_throughput(runs)))
    for name, found in looks.items():
        yield page.section(f"World model of {name}", *_world(found))
    yield page.section("Settings", _settings(runs))
    yield page.section(
        "Versions and hardware", page.machines({run.name: run.machines for run in runs})
    )


def _look(run: RunRecord, episodes: int, seed: int, device: str) -> Look | str:
    """What the best checkpoint shows, or the newest one's; a reason where there is none."""
    try:
        try:
            chosen = choose(run.path, "best")
        except CheckpointError:
            chosen = choose(run.path, "latest")
        return look(chosen, episodes, seed, device)
    except Exception as error:  # a report on what was logged needs neither env nor checkpoint
        return f"Not shown: {type(error).__name__}: {error}"


def _summaries(runs: Sequence[RunRecord]) -> str:
    columns = [run.summary() for run in runs]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return page.table(("", *(run.name for run in runs)), rows)


def _returns(runs: Sequence[RunRecord]) -> str:
    by_frames = []
    for index, run in enumerate(runs):
        by_frames.append(Line("", *run.series(RETURN, "frames"), colour=index, dots=True))
        by_frames.append(Line(run.name, *run.returns("frames"), colour=index))
    curves = filter(None, (published(run.cfg) for run in runs))
    found = {(curve.agent, curve.suite, curve.env, curve.seen): curve for curve in curves}
    tasks = {curve.env for curve in found.values()}
    for index, curve in enumerate(found.values(), len(runs)):
        task = f", {curve.env}" if len(tasks) > 1 else ""
        by_frames.append(published_line(curve, index, task))
    by_hours = [
        Line(run.name, _hours(run.returns("seconds")[0]), run.returns("seconds")[1], index)
        for index, run in enumerate(runs)
    ]
    drawn = [
        line_chart("return of training episodes", "simulator frames", by_frames),
        line_chart("return of training episodes", HOURS, by_hours),
        _chart(runs, "episode/length"),
        *(_chart(runs, name) for name in _names(runs) if name.startswith("eval/")),
    ]
    return page.charts(drawn)


def published_line(curve: Curve, colour: int, task: str = "") -> Line:
    """A published curve, dashed, with its band; `task` is said where there are several."""
    seeds = f", {curve.seeds} seeds" if curve.seeds else ""
    name = f"published, {curve.suite}{task}{seeds}"
    frames: list[float] = list(curve.frames)
    return Line(name, frames, curve.mean, colour, True, *curve.band)


def _about_returns(runs: Sequence[RunRecord]) -> str:
    text = "Dots are episodes, lines the mean of the last ten."
    if any(published(run.cfg) for run in runs):
        text += " Dashed: what the authors published, mean and standard deviation."
    return text


def _charts(runs: Sequence[RunRecord], prefix: str) -> str:
    return page.charts(_chart(runs, name) for name in _names(runs) if name.startswith(prefix))


def _chart(runs: Sequence[RunRecord], name: str) -> str:
    lines = [Line(run.name, *run.series(name), colour=i) for i, run in enumerate(runs)]
    return line_chart(name, STEPS, lines)


def _names(runs: Sequence[RunRecord]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.names))


def _of_behavior(name: str) -> bool:
    return "/" not in name and name not in LATENTS


def _throughput(runs: Sequence[RunRecord]) -> Iterable[str]:
    for counter, title in (("step", "agent steps per second"), ("updates", "updates per second")):
        lines = [Line(run.name, *_rate(run, counter), colour=i) for i, run in enumerate(runs)]
        yield line_chart(title, STEPS, lines)


def _rate(run: RunRecord, counter: str) -> tuple[list[float], list[float]]:
    """Increase per second between rows that logged losses."""
    own = [row for row in run.rows if row.keys() >= COUNTERS]
    rows = [row for row in own if any(name.startswith("loss/") for name in row)]
    pairs = [(a, b) for a, b in zip(rows, rows[1:], strict=False) if b["seconds"] > a["seconds"]]
    rates = [(b[counter] - a[counter]) / (b["seconds"] - a["seconds"]) for a, b in pairs]
    return [float(b["step"]) for _, b in pairs], rates


def _world(found: Look | str) -> Iterable[str]:
    if isinstance(found, str):
        yield f"<p>{escape(found)}</p>"
        return
    yield page.facts(_facts(found))
    for name, film in found.films.items():
        yield page.picture(f"{name}: real | reconstructed | imagined | error", film)
    yield page.charts(_traces(found))
    if found.quality is not None:
        loops = found.quality.open_loop
        ahead = [float(k) for k in range(len(found.quality.starts))]
        yield page.charts(
            line_chart(f"open loop: {name}", "frames ahead", [Line(name, ahead, curve)])
            for name, curve in loops.items()
        )
    if found.categorical:
        yield page.charts([heat_map("use of classes", found.usage, "class", "group")])
    else:
        yield page.charts([heat_map("spread of the state", found.usage, "number", "")])


def _facts(found: Look) -> dict[str, Any]:
    returns = found.report.returns
    facts: dict[str, Any] = {
        "checkpoint": f"{found.report.checkpoint}, step {found.report.step:,}",
        "interquartile mean of returns": float(interquartile_mean(returns)),
        "episodes": len(returns),
    }
    if found.report.successes is not None:
        facts["success"] = found.report.summary()["success"]
    if found.categorical:
        facts["classes in use per group"] = f"{found.in_use():.1f} of {len(found.usage[0])}"
    if found.quality is not None:
        facts["KL in nats"] = found.quality.kl
        facts |= {f"reconstruction {k}": v for k, v in found.quality.reconstruction.items()}
    return facts


def _traces(found: Look) -> Iterable[str]:
    for trace in found.traces:
        frames = [float(i) for i in range(len(trace.real))]
        lines = [
            Line("real", frames, trace.real, 0),
            Line("reconstructed", frames, trace.reconstructed, 2),
            Line("imagined", frames[-len(trace.imagined) :], trace.imagined, 1, dashed=True),
        ]
        yield line_chart(trace.name, "frame of the episode", lines)


def _settings(runs: Sequence[RunRecord]) -> str:
    different = changed_keys([run.cfg for run in runs])
    rows = [(key, *(str(value) for value in values)) for key, values in different.items()]
    return page.table(("what differs", *(run.name for run in runs)), rows) + "".join(
        page.folded(f"all settings of {run.name}", config_text(run.cfg)) for run in runs
    )


def _hours(seconds: Iterable[float]) -> list[float]:
    return [each / 3600 for each in seconds]
