"""`dreamer-plugin compare`: Dreamer beside agents of Stable-Baselines3 on one env."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamer_plugin.doors.cli_import import EnvImport
from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.errors import UsageError, nearest

if TYPE_CHECKING:
    from dreamer_plugin.config import Config, Resolved
    from dreamer_plugin.spaces import Spaces

ABOUT = """Train several agents on one env, and compare how well and how fast they learn.

Agents are dreamer (V3), dreamer-v1, dreamer-v2, dreamer-without-two-hot and six more with a part \
left out, and those of Stable-Baselines3: ppo, a2c, dqn, sac, td3, ddpg, and with sb3-contrib \
tqc, trpo, qrdqn. All see and are measured on the same env. Each seed of each agent is made once: \
the same command goes on where it was cut, and more agents or seeds may be added. KEY=VALUE \
settings are those of the Dreamers. docs/compare.md says more.

[bold]Examples[/bold]

  dreamer-plugin compare --env gym/CartPole-v1 --agents dreamer,ppo,dqn --seeds 3 --steps 50000
  dreamer-plugin compare --env gym/Pendulum-v1 --agents dreamer,sac --steps 20000 --out pendulum
"""

_OPTIONS = {  # key -> option that says it
    "seed": "--seeds",
    "run.steps": "--steps",
    "run.logdir": "--out",
    "run.eval_every": "--eval-every",
    "run.eval_episodes": "--episodes",
}


def compare(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings of the Dreamers.")
    ] = None,
    env: Annotated[str | None, typer.Option("--env", metavar="ID", help="Suite and task.")] = None,
    agents: Annotated[str, typer.Option(metavar="NAME,...", help="Which agents.")] = "dreamer,ppo",
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Trainings of each.")] = 3,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Of each training.")] = 50_000,
    eval_every: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Steps between evaluations; a tenth of --steps."),
    ] = None,
    episodes: Annotated[int, typer.Option(metavar="N", min=1, help="Of each evaluation.")] = 10,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="Of the Dreamers.")] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = None,
    allow_env_import: EnvImport = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where; compare/<env> by default.")
    ] = None,
) -> None:
    """Compare agents."""
    if env is None:
        raise UsageError("Which env? Say --env gym/CartPole-v1; `dreamer-plugin envs` lists all.")
    names = _names(agents)
    every = eval_every or max(1, steps // 10)
    if every > steps:
        raise UsageError(f"--eval-every {every} is more than --steps {steps}: nothing is measured.")
    given = {"size": size, "device": device}
    options = {key: value for key, value in given.items() if value is not None}
    from dreamer_plugin.doors.cli_config import refuse_keys, shown_override
    from dreamer_plugin.study import contest as cells
    from dreamer_plugin.study.cells import Stopped
    from dreamer_plugin.study.contest_results import require_rliable, write_results

    refuse_keys(overrides or [], _OPTIONS)
    _refuse_unused(names, overrides or [], size)
    options["run.steps"] = str(steps)
    known = _resolved(env, [*names, "dreamer"], overrides or [], options)
    resolved = {name: known[name] for name in names}
    configs = {name: each.config for name, each in resolved.items()}
    require_rliable()
    any_config = next(iter(configs.values()))
    made = _require_agents(names, any_config)
    numbers = any(key.kind != "image" for key in made.obs)
    _refuse_absent(configs, known["dreamer"].config, numbers)
    env_id = any_config.env.id
    folder = out or Path("compare") / env_id.replace("/", "-")
    told = [*([f"size={size}"] if size else []), *map(shown_override, overrides or [])]
    origins = {
        name: cells.origin(name, each.config, [*told, *_of_machine(each)])
        for name, each in resolved.items()
    }
    for line in _unlike(configs):
        typer.echo(line)
    contest = cells.Contest(env_id, names, seeds, steps, every, episodes, origins)
    cells.enter(contest, folder)
    try:
        with metered():
            failed = cells.run_cells(contest, folder, lambda cell: configs[cell.agent], typer.echo)
    except Stopped as stopped:
        raise typer.Exit(stopped.exit_code) from stopped
    files = write_results(cells.read_contest(folder), folder)
    typer.echo(f"{folder}: {', '.join(file.name for file in files)}")
    if failed:
        typer.echo(f"failed: {', '.join(failed)}; the same command tries them again", err=True)
        raise typer.Exit(1)


def _names(agents: str) -> list[str]:
    """The agents that are named, each once.

    Raises:
        UsageError: one is unknown.
    """
    from dreamer_plugin.study.contest_names import AGENTS

    names = [name.strip() for name in agents.split(",") if name.strip()]
    for name in names:
        if name not in AGENTS:
            raise UsageError(nearest(name, AGENTS, "agent"))
    if not names:
        raise UsageError("--agents names none: say --agents dreamer,ppo.")
    return list(dict.fromkeys(names))


def _refuse_unused(names: Sequence[str], overrides: Sequence[str], size: str | None) -> None:
    """Refuse settings of Dreamers where none is compared; those of the env are everybody's."""
    from dreamer_plugin.study.contest_names import DREAMERS

    given = [f"--size {size}"] if size else []
    given += [override for override in overrides if not override.strip().startswith("env.")]
    if given and not set(names) & set(DREAMERS):
        raise UsageError(
            f"{given[0]} is a setting of Dreamers, and --agents names none: leave it out, or add "
            "dreamer."
        )


def _resolved(
    env: str, names: Sequence[str], overrides: Sequence[str], options: dict[str, Any]
) -> dict[str, Resolved]:
    """Settings of each agent; baselines take env and device from those of V3."""
    from dreamer_plugin.doors.cli_config import resolve
    from dreamer_plugin.study.contest_names import DREAMERS

    presets = {name: tuple(DREAMERS.get(name, ["v3"])) for name in names}
    made = {
        some: resolve(env, list(some), overrides, options)
        for some in dict.fromkeys(presets.values())
    }
    return {name: made[some] for name, some in presets.items()}


def _refuse_absent(configs: dict[str, Config], whole: Config, numbers: bool) -> None:
    """Refuse to leave out what V3 does not have: two cells would be of one agent.

    Args:
        configs: of each agent. whole: V3's. numbers: whether vectors are seen.
    """
    from dreamer_plugin.study.ablations import is_there
    from dreamer_plugin.study.contest_names import WITHOUT

    for name, config in configs.items():
        part = name.removeprefix(WITHOUT)
        if part != name and not is_there(part, whole, config, numbers):
            raise UsageError(f"{name}: V3 has no such part to leave out on {config.env.id}.")


def _of_machine(resolved: Resolved) -> list[str]:
    """What the machine chose of what is learned: a cell made elsewhere may not be beside it."""
    rows = (row for row in resolved.report.rows if row.setting in ("size", "env.num_envs"))
    return [f"{row.setting}={row.here}" for row in rows]


def _unlike(configs: dict[str, Config]) -> list[str]:
    """Where agents do not see the same env, in lines."""
    options = {name: cfg.env.options for name, cfg in configs.items()}
    lines = []
    for key in sorted({key for each in options.values() for key in each}):
        values = {name: each.get(key) for name, each in options.items()}
        if len(set(map(repr, values.values()))) > 1:
            told = ", ".join(f"{value} for {name}" for name, value in values.items())
            lines.append(f"not the same env: {key} is {told}; env.{key}=VALUE sets it for all")
    return lines


def _require_agents(names: Sequence[str], cfg: Any) -> Spaces:
    """Refuse agents that cannot act in the env before anything is trained; its spaces."""
    import dreamer_envs
    from dreamer_plugin.spaces import Spaces
    from dreamer_plugin.study.baselines import require_baseline
    from dreamer_plugin.study.contest_names import BASELINES

    made = dreamer_envs.make(cfg.env.id, **cfg.env.options)
    made.close()
    for name in names:
        if name in BASELINES:
            require_baseline(name, made.action_space)
    return Spaces.from_gym(made.observation_space, made.action_space)
