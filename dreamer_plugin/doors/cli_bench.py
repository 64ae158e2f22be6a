"""`dreamer-plugin bench`: what is measured, how far it is, and tables of the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dreamer_plugin.config.report import size_text
from dreamer_plugin.doors.cli_text import rendered


def run(
    workload: str,
    only: str,
    device: str,
    precision: str,
    updates: int,
    overrides: Sequence[str],
    as_json: bool,
) -> str:
    """Measure, with the progress on stderr; the report as tables or as a JSON object.

    Args:
        only: parts of the benchmark with commas between them, empty for all.
    """
    from dreamer_plugin.doors.cli_config import resolve
    from dreamer_plugin.study.bench import PARTS, bench

    def resolved(env: str) -> Any:
        options = {"device": device, "precision": precision}
        given = {name: value for name, value in options.items() if value != "auto"}
        return resolve(env, overrides=overrides, options=given).config

    with Teller(Console(stderr=True)) as tell:
        report = bench(
            workload,
            resolve=resolved,
            tell=tell,
            parts=[part.strip() for part in only.split(",")] if only else PARTS,
            device=device,
            precision=precision,
            updates=updates,
            overrides=overrides,
        )
    return json.dumps(report) if as_json else rendered(tables(report))


class Teller:
    """Shows progress: a bar on a terminal, a line for each new thing elsewhere.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console, self._what = console, ""
        what, eta = TextColumn("{task.description}"), TextColumn("ETA")
        columns = (what, BarColumn(), MofNCompleteColumn(), eta, TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Callable[[str, int, int], None]:
        if self._console.is_terminal:
            self._bar.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def _tell(self, what: str, done: int, total: int) -> None:
        self._bar.update(self._task, description=what, completed=done, total=total)
        if what != self._what and not self._console.is_terminal:
            self._console.print(f"bench: {what} ...", highlight=False)
        self._what = what


def tables(report: Mapping[str, Any]) -> RenderableType:
    """The report for people."""
    parts = {"seconds_per_update": _update, "policy": _policy, "replay": _replay, "envs": _envs}
    threads = f"{report['threads']} threads" if report["device"] == "cpu" else report["device"]
    head = (
        f"{report['workload']}  {report['precision']}  {report['device_name']}, {threads}, "
        f"torch {report['torch']}"
    )
    changed = report["settings"]
    lines = [Text(head, style="bold")] + ([Text(f"with {' '.join(changed)}")] if changed else [])
    return Group(*lines, *(show(report) for part, show in parts.items() if part in report))


def _update(report: Mapping[str, Any]) -> RenderableType:
    total, seconds = report["seconds_per_update"], report["seconds"]
    table = Table("phase", title="One update", title_justify="left")
    for name in ("ms", "share", "GFLOP", "GFLOP/s"):
        table.add_column(name, justify="right")
    for phase, spent in report["breakdown"].items():
        work = report["flops_breakdown"].get(phase, 0.0)
        rate = _short(work / spent / 1e9) if work and spent else ""
        gflop = _short(work / 1e9) if work else ""
        table.add_row(phase, f"{1e3 * spent:,.1f}", f"{spent / total:.0%}", gflop, rate)
    whole = report["flops_per_update"]
    last = (_short(whole / 1e9), _short(report["flops_per_second"] / 1e9))
    table.add_section()
    table.add_row("update", f"{1e3 * total:,.1f}", "", *last, style="bold")
    rates = report["matmul_flops_per_second"].items()
    products = ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates)
    memory = {name: size for name, size in report["memory"].items() if size is not None}
    sizes = ", ".join(f"{name} {size_text(size)}" for name, size in memory.items())
    spread = (
        f"median of {len(seconds['each'])}: {total:.4f} s, from {seconds['min']:.4f} to "
        f"{seconds['max']:.4f}, quartiles {seconds['spread']:.4f} apart, first one "
        f"{seconds['first']:.2f} s"
    )
    reached = f"square matrix products: {products}; updates reach {report['of_matmul_rate']:.1%}"
    return Group(table, Text(spread), Text(reached), Text(f"memory: {sizes}"))


def _short(number: float) -> str:
    """Three figures, or all in front of the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _policy(report: Mapping[str, Any]) -> RenderableType:
    table = Table(title="One decision", title_justify="left")
    for name in ("envs", "ms per step", "of it policy", "decisions/s"):
        table.add_column(name, justify="right")
    for row in report["policy"]:
        times = (f"{1e3 * row[name]:.2f}" for name in ("seconds_per_step", "seconds_act"))
        table.add_row(str(row["envs"]), *times, f"{row['decisions_per_second']:,.0f}")
    return table


def _replay(report: Mapping[str, Any]) -> RenderableType:
    row = report["replay"]
    batch = f"a batch of {size_text(row['batch_bytes'])} out of {row['records']:,} records"
    cost = f"{1e3 * row['seconds_per_sample']:.2f} ms, {row['ratio']:.2f} times contiguous slices"
    return Text(f"replay: {batch} in {cost}")


def _envs(report: Mapping[str, Any]) -> RenderableType:
    table = Table("env", "size", "envs", "updates", title="Training", title_justify="left")
    table.add_column("steps/s", justify="right")
    table.add_column("without updates", justify="right")
    skipped = []
    for row in report["envs"]:
        if "skipped" in row:
            skipped.append(Text(f"{row['env']} skipped: {row['skipped']}"))
            continue
        rates = (row["steps_per_second"], row["steps_per_second_without_updates"])
        table.add_row(
            row["env"],
            f"{row['size']} {row['precision']}",
            str(row["num_envs"]),
            f"{row['updates']} (ratio {row['train_ratio']:g})",
            *(f"{rate:,.1f}" for rate in rates),
        )
    return Group(table, *skipped)
