"""`dreamer-plugin report` and `diff`: runs as a page, and two of them beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dreamer_plugin.doors.cli_import import EnvImport, EnvPython
from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.doors.cli_seed import Seed
from dreamer_plugin.doors.run_paths import meant_run
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.pretrained import beside

ABOUT_REPORT = """Make one HTML page of runs, several overlaid: curves, films, settings, machines.

The page needs no network. Where the authors of DreamerV3 published a curve of the task, it is \
drawn beside. docs/report.md says what the page shows.

[bold]Examples[/bold]

  dreamer-plugin report runs/mine
  dreamer-plugin report runs/a runs/b --out both.html --episodes 0
"""

ABOUT_DIFF = """Compare two runs: settings, versions, results, and the first number that differs.

[bold]Examples[/bold]

  dreamer-plugin diff runs/a runs/b
  dreamer-plugin diff runs/a runs/b --json
"""


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.html", help="The page; report.html in RUN by default."),
    ] = None,
    episodes: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Play so many, to show the world model; 0: none."),
    ] = 3,
    seed: Seed = 0,
    allow_env_import: EnvImport = None,
    allow_env_python: EnvPython = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Make a page of runs."""
    runs = [meant_run(run) for run in runs]
    if out is None:
        if len(runs) > 1:
            raise UsageError("Where should the page of several runs lie? Add --out FILE.html.")
        from dreamer_plugin.run.folder import find_run

        out = beside(find_run(runs[0]) or runs[0], "report.html")
    if out.suffix not in (".html", ".htm"):
        raise UsageError(f"{out} is no page: end it in .html.")
    if not out.parent.is_dir() or out.is_dir():
        raise UsageError(f"Cannot write {out}: name a file in a folder that exists.")
    from dreamer_plugin.study.report import report as make

    with metered():
        text = make(runs, episodes, seed, device)
    try:
        out.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"Cannot write {out}: {error.strerror}; try --out.") from error
    typer.echo(f"{out}: {len(text) / 1e6:.2f} MB, open it in a browser")


def diff(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run folder.")],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two runs."""
    a, b = meant_run(a), meant_run(b)
    from dreamer_plugin.study.difference import difference
    from dreamer_plugin.study.run_record import read_runs

    first, second = read_runs([a, b])
    found = difference(first, second)
    typer.echo(json.dumps(found) if as_json else text(found, first.name, second.name))


def text(found: dict[str, Any], a: str, b: str) -> str:
    """What differs, for people."""
    lines = []
    for title in ("settings", "machine", "results"):
        lines += [title, *_rows(found[title], a, b)]
    parted = found["parted"]
    if parted is None and not found["rows"]:
        lines.append("no row that both logged, so their numbers cannot be compared")
    elif parted is None:
        lines.append(f"all {found['rows']:,} rows that both logged are equal, but for times")
    else:
        ours, theirs = parted["values"]
        where = f"row {parted['row']:,}, step {parted['step']:,}"
        lines.append(f"first difference in {where}: {parted['name']} {ours} | {theirs}")
    return "\n".join(lines)


def _rows(pairs: dict[str, list[Any]], a: str, b: str) -> list[str]:
    if not pairs:
        return ["  no difference"]
    shown = [("", a, b)] + [(name, *map(_value, pair)) for name, pair in pairs.items()]
    widths = [max(len(row[column]) for row in shown) for column in range(3)]
    return [f"  {row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]}" for row in shown]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.5g}"
    return "-" if value is None else str(value)
