"""`dreamer-plugin plan`: what a run will take, before it is begun."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

import typer

from dreamer_plugin.doors.cli_import import EnvImport
from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.errors import UsageError

ABOUT = """Say what a run will take: parameters, memory, disk, and hours by a short probe.

The probe steps the env and makes a few updates, without a folder. A run that cannot fit is \
refused, with the change that would. Arguments are most of train's; \
the rest is said as KEY=VALUE, such as seed=1. docs/plan.md says more.

[bold]Examples[/bold]

  dreamer-plugin plan --env atari/Pong
  dreamer-plugin plan --env dmc/walker-walk --size 12m --steps 500000 --json
"""


def plan(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Any setting.")
    ] = None,
    env: Annotated[str | None, typer.Option("--env", metavar="ID", help="Suite and task.")] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", metavar="NAME|FILE", help="Preset or file.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="1m to 400m.")] = None,
    steps: Annotated[str | None, typer.Option(metavar="N", help="Agent steps of the run.")] = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="auto|published", help="As of train.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = None,
    precision: Annotated[str | None, typer.Option(metavar="P", help="As of train.")] = None,
    num_envs: Annotated[
        str | None, typer.Option("--num-envs", metavar="N", help="Envs side by side.")
    ] = None,
    allow_env_import: EnvImport = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan a run."""
    if env is None and not config:
        raise UsageError("Which env? Say --env atari/Pong; `dreamer-plugin envs` lists all.")
    options = {
        "size": size,
        "run.steps": steps,
        "protocol": protocol,
        "device": device,
        "precision": precision,
        "env.num_envs": num_envs,
    }
    given = {key: value for key, value in options.items() if value is not None}
    from rich.console import Console

    from dreamer_plugin.doors.cli_config import resolve
    from dreamer_plugin.study.plan import make_plan

    resolved = resolve(env or "", config or [], overrides or [], given)
    if not resolved.config.env.id:
        raise UsageError("Which env? Say --env atari/Pong; `dreamer-plugin envs` lists all.")
    if not as_json:
        Console(stderr=True).print(resolved.report)
    with metered():
        made = make_plan(resolved.config, lambda line: typer.echo(line, err=True))
    typer.echo(json.dumps(made.to_dict()) if as_json else text(made.to_dict()))
    problems = made.problems()
    if problems:
        raise UsageError(f"This cannot fit: {'; '.join(problems)}.")


def text(plan: dict[str, Any]) -> str:
    """A plan for people."""
    from dreamer_plugin.config.report import size_text

    parameters = plan["parameters"]
    place = "on disk" if plan["replay_on_disk"] else "of it replay"
    took = timedelta(seconds=round(plan["seconds"]))
    lines = [
        f"{plan['env']} x {plan['envs']} on {plan['device']}, {plan['precision']}",
        f"parameters  {sum(parameters.values()):,}",
        *(f"  {name:<10}{count:>12,}" for name, count in parameters.items()),
        f"memory      {size_text(plan['memory'])}, {size_text(plan['replay'])} {place}, "
        f"{size_text(plan['free_memory'])} free now",
    ]
    if plan["device_memory"] is not None:
        lines.append(f"GPU memory  {size_text(plan['device_memory'])}")
    return "\n".join(
        [
            *lines,
            f"disk        {size_text(plan['disk'])} at most, {size_text(plan['free_disk'])} free",
            f"time        {1e3 * plan['update']:.1f} ms an update, {1e3 * plan['step']:.1f} ms a "
            "step of all envs",
            f"            {plan['steps']:,} steps with {plan['updates']:,} updates: {took} h, "
            f"{plan['steps_per_second']:,.1f} steps a second, uncompiled",
            *plan["notes"],
        ]
    )
