"""`dreamer-plugin doctor`: what is wrong with a run, why, and what to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dreamer_plugin.doors.cli_import import EnvImport, EnvPython
from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.doors.cli_seed import Seed
from dreamer_plugin.doors.run_paths import meant_run, refuse_env_object

ABOUT = """Examine a run: evidence, likely cause and remedy of what goes wrong.

Logs tell of collapsed latents, a dead actor, drifting values, a replay that is too small, and a \
slow env. A few episodes, played with the newest checkpoint, tell of errors of the reward head, \
of dreams that diverge, and of overfitting. train warns of the former while it runs. \
The exit code is 1 when something is wrong. docs/doctor.md says where each alarm begins.

[bold]Examples[/bold]

  dreamer-plugin doctor runs/mine
  dreamer-plugin doctor runs/mine --episodes 0 --json
"""


def doctor(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    episodes: Annotated[
        int, typer.Option(metavar="N", min=0, help="To play; 0 looks at the logs alone.")
    ] = 3,
    seed: Seed = 0,
    allow_env_import: EnvImport = None,
    allow_env_python: EnvPython = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Examine a run."""
    run = meant_run(run)
    from dreamer_plugin.run.folder import RunFolder
    from dreamer_plugin.study.doctor import examine

    if episodes and RunFolder(run).has_log():
        refuse_env_object(run, instead=", or look at the logs alone with --episodes 0")
    with metered():
        found = examine(str(run), episodes, seed, device).to_dict()
    typer.echo(json.dumps(found) if as_json else text(found))
    if found["alarms"]:
        raise typer.Exit(1)


def text(found: dict[str, Any]) -> str:
    """What was found, for people."""
    lines = [found["run"]]
    for alarm in found["alarms"]:
        lines += [
            f"{alarm['name']}",
            f"  evidence  {alarm['evidence']}",
            f"  cause     {alarm['cause']}",
            f"  try       {alarm['fix']}",
        ]
    if not found["alarms"]:
        lines.append("nothing is wrong as far as this can tell")
    lines.append("looked at")
    lines += [f"  {n:<40} {v:.4g}" for n, v in found["evidence"].items() if v is not None]
    return "\n".join([*lines, *found["notes"]])
