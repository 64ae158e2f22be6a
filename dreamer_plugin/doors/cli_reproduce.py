"""`dreamer-plugin reproduce`: a published learning curve, tried again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.errors import UsageError, choose, nearest

if TYPE_CHECKING:
    from dreamer_plugin.config import Config, Resolved
    from dreamer_plugin.study.published_curves import Curve
    from dreamer_plugin.study.reproduce import Reproduction

ABOUT = """Run the protocol of a published learning curve, and compare at the same frames.

The run takes the settings that the curve was made with; what this machine or a setting of yours \
changes is listed first, and the result says that it is not the same protocol. Each seed is a run \
folder: the same command goes on where it was cut, and more seeds, frames or --without may be \
added. docs/reproduce.md says more.

[bold]Examples[/bold]

  dreamer-plugin reproduce --list dmc
  dreamer-plugin reproduce dmc/walker-walk --seeds 2 --budget 100000
  dreamer-plugin reproduce dmc/walker-walk env.obs=pixels --agent v1
  dreamer-plugin reproduce atari100k/Pong --protocol published
  dreamer-plugin reproduce dmc/walker-walk --budget 20% --without two-hot --without symlog
"""
_KEYS = {"num-envs": "env.num_envs"}  # option -> key, where they differ
_OPTIONS = {"seed": "--seeds and --only", "run.steps": "--budget", "run.logdir": "--out"}
_LEARNED = ("config", "size", "num-envs")  # options that change what is learned
ALL = "`dreamer-plugin reproduce --list` lists all."


def reproduce(
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Suite and task.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings; they count as differences."),
    ] = None,
    agent: Annotated[
        str, typer.Option(metavar="v1|v2|v3", help="Whose protocol, and curve if there is one.")
    ] = "v3",
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Runs of each variant.")] = 1,
    budget: Annotated[
        str,
        typer.Option(metavar="FRAMES|N%", help="Where to end; published: where the curve does."),
    ] = "published",
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Run it without a part too; may be repeated; a+b: both."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN", help="This run alone, as full-s1; may be repeated."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Another agent than the curve's, such as v3."),
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="Another size.")] = None,
    num_envs: Annotated[
        str | None, typer.Option("--num-envs", metavar="N", help="Envs side by side.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="auto|published", help="As of train.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where; reproduce/<task>-<agent>.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Add the results to those there, and make its table."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the published curves.")] = False,
) -> None:
    """Try a published curve again."""
    if list_all:
        typer.echo(_listing(task or ""))
    elif task is None and record is not None:
        from dreamer_plugin.study.reproduce_table import write_table

        typer.echo(str(write_table(record)))
    elif task is None or "=" in task:
        raise UsageError(f"Which task? Say dmc/walker-walk; {ALL}")
    else:
        given = {"size": size, "num-envs": num_envs, "protocol": protocol, "device": device}
        options = {key: value for key, value in given.items() if value is not None}
        words = overrides or [], agent, seeds, budget, without or [], only or [], config, options
        _run(_Asked(task, *words), out, record)


@dataclass(frozen=True)
class _Asked:
    """What was typed."""

    task: str
    overrides: list[str]
    agent: str
    seeds: int
    budget: str
    without: list[str]
    only: list[str]
    config: str | None
    options: dict[str, str]

    @property
    def preset(self) -> str:
        """Agent that is run."""
        from dreamer_plugin.study.published_curves import PRESETS

        own = choose(PRESETS, self.agent, "agent")
        return self.config or own

    @property
    def settings(self) -> list[str]:
        """Those that change what is learned, as they may be written down."""
        from dreamer_plugin.doors.cli_config import shown_override

        given = {"config": self.config} | self.options
        flags = [f"--{name} {given[name]}" for name in _LEARNED if given.get(name)]
        return [*flags, *map(shown_override, self.overrides)]

    @property
    def command(self) -> str:
        """The line, as it may be written down."""
        from dreamer_plugin.doors.cli_config import shown_override

        words = ["dreamer-plugin", "reproduce", self.task, *map(shown_override, self.overrides)]
        words += ["--agent", self.agent, "--seeds", str(self.seeds), "--budget", self.budget]
        words += [word for part in self.without for word in ("--without", part)]
        words += [word for run in self.only for word in ("--only", run)]
        words += ["--config", self.config] if self.config else []
        words += [word for name, value in self.options.items() for word in (f"--{name}", value)]
        return shlex.join(words)


def _run(asked: _Asked, out: Path | None, record: Path | None) -> None:
    from dreamer_plugin.doors.cli_config import refuse_keys
    from dreamer_plugin.study import reproduce as parts
    from dreamer_plugin.study import reproduce_found as found
    from dreamer_plugin.study import reproduce_results as results
    from dreamer_plugin.study import reproduce_table as shelf
    from dreamer_plugin.study.ablations import presets_of
    from dreamer_plugin.study.cells import Stopped

    refuse_keys(asked.overrides, _OPTIONS)
    curve, plain = _curve(asked)
    folder = out or Path("reproduce") / f"{shelf.name(curve.env, curve.seen)}-{plain.agent}"
    variants: dict[str, list[str]] = {parts.FULL: []}
    variants |= {f"without-{words}": presets_of(words) for words in asked.without}
    seeds = asked.seeds
    if (folder / parts.FILE).is_file():
        seeds = max(seeds, parts.read_reproduction(folder).seeds)
    for wanted in asked.only:
        choose(parts.cell_names(variants, seeds), wanted, "--only")
    plan, configs = _plan(asked, curve, plain, variants)
    if record is not None:
        shelf.check(plan, record)
    for line in _told(plan, found.curve_to_reach(plan)):
        typer.echo(line)
    asked_for, plan = plan, parts.enter(plan, folder)
    now = replace(plan, frames=asked_for.frames, steps=asked_for.steps)
    wanted_runs = asked.only or list(asked_for.names())
    try:
        with metered():
            failed = parts.run(now, configs, folder, typer.echo, wanted_runs)
    except Stopped as stopped:
        raise typer.Exit(stopped.exit_code) from stopped
    finally:  # also what an interrupted one has
        ran = found.find(plan, folder)
        files, verdicts = results.write_results(ran, folder / results.FOLDER)
        for verdict in verdicts:
            typer.echo(str(verdict))
        if not verdicts:
            typer.echo("No bin of the published curve is passed yet.")
        typer.echo(f"{files[0].parent}: {', '.join(file.name for file in files)}")
        if record is not None and verdicts:
            typer.echo(f"recorded in {shelf.record(ran, record)}")
    if failed:
        typer.echo(f"failed: {', '.join(failed)}; the same command tries them again", err=True)
        raise typer.Exit(1)


def _plan(
    asked: _Asked, curve: Curve, plain: Config, variants: dict[str, list[str]]
) -> tuple[Reproduction, dict[str, Config]]:
    """What is run, and the settings of each variant."""
    from dreamer_plugin.config import compose
    from dreamer_plugin.study import reproduce as parts
    from dreamer_plugin.study.ablations import ABLATIONS, is_there, parts_of

    frames = _frames(asked.budget, curve)
    steps = parts.agent_steps(plain, frames)
    for part in dict.fromkeys(part for words in asked.without for part in parts_of(words)):
        config = [asked.preset, ABLATIONS[part].preset]
        without = compose(curve.env, config=config, overrides=asked.overrides).config
        if not is_there(part, plain, without, curve.sees_numbers):
            raise UsageError(
                f"--without {part}: {asked.preset} has no such part to leave out on {curve.env}"
                f"{f' from {curve.seen}' if curve.seen else ''}."
            )
    resolved = {name: _resolve(asked, curve, steps, some) for name, some in variants.items()}
    configs = {name: each.config for name, each in resolved.items()}
    full = resolved[parts.FULL]
    why = {row.setting: f"{row.why}; {row.restore}" for row in full.report.rows}
    plan = parts.Reproduction(
        env=curve.env,
        seen=curve.seen,
        agent=full.config.agent,
        curve=curve.agent,
        frames=frames,
        steps=steps,
        seeds=asked.seeds,
        variants=variants,
        settings=asked.settings,
        differences=parts.differences(curve, frames, full.config, why),
        commands=[asked.command],
    )
    return plan, configs


def _resolve(asked: _Asked, curve: Curve, steps: int, presets: list[str]) -> Resolved:
    """A variant's settings, fitted to this machine."""
    from dreamer_plugin.doors.cli_config import resolve

    options = {_KEYS.get(name, name): value for name, value in asked.options.items()}
    config = [asked.preset, *presets]
    return resolve(curve.env, config, asked.overrides, options | {"run.steps": steps})


def _curve(asked: _Asked) -> tuple[Curve, Config]:
    """The published curve, and what is run, not yet fitted to anything.

    Raises:
        UsageError: there is none; names the nearest task that has one.
    """
    import dreamer_envs
    from dreamer_envs.errors import EnvsError
    from dreamer_plugin.config import compose
    from dreamer_plugin.study import published_curves as shipped

    tasks = list(dict.fromkeys(curve.env for curve in shipped.curves()))
    try:
        env = dreamer_envs.canonical(asked.task)
    except EnvsError:
        env = asked.task
    if env not in tasks:
        raise UsageError(f"{nearest(env, tasks, 'task with a published curve')} {ALL}")
    plain = compose(env, config=[asked.preset], overrides=asked.overrides).config
    seen = shipped.seen(plain)
    curve = shipped.curve_of(env, seen, asked.agent)
    if curve is None:
        other = "env.obs=proprio" if seen else f"env.obs={shipped.PIXELS}"
        raise UsageError(f"{env} has no published curve of what is seen here: add {other}. {ALL}")
    return curve, plain


def _frames(budget: str, curve: Curve) -> int:
    """Simulator frames that a run is to reach."""
    end = curve.frames[-1]
    if budget == "published":
        return end
    number, percent = budget.removesuffix("%"), budget.endswith("%")
    try:
        frames = int(float(number) * end / 100 if percent else float(number))
    except (ValueError, OverflowError):
        raise UsageError(
            f"--budget {budget} is neither frames, such as 100000, nor a share, such as 20%."
        ) from None
    if not 0 < frames <= end:
        raise UsageError(
            f"--budget {budget}: name more than 0 frames, up to the {end:,} at which the published "
            "curve ends."
        )
    return frames


def _told(plan: Reproduction, curve: Curve) -> list[str]:
    """What is run, and where that is not what was published."""
    from dreamer_plugin.study.reproduce_results import NOT_THE_SAME, title

    lines = [f"{title(plan)}: {plan.frames:,} frames"]
    if plan.agent == curve.presets[0]:
        lines += [
            f"published before, number for number, with the agent of --config {name}"
            for name in curve.presets[1:]
        ]
    if not plan.differences:
        return [*lines, "the published protocol"]
    return [*lines, f"{NOT_THE_SAME}:", *(f"  {each}" for each in plan.differences)]


def _listing(part: str) -> str:
    """Published curves whose task holds a part, a line each."""
    from dreamer_plugin.study.published_curves import curves

    rows = [("task", "agent", "", "frames", "at the end", "seeds")]
    for each in curves():
        if part in each.env:
            end = f"{each.mean[-1]:,.5g} ± {each.std[-1]:.3g}"
            obs = f"env.obs={each.seen}" if each.seen else ""
            known = str(each.seeds or "not said")
            rows.append((each.env, each.agent, obs, f"{each.frames[-1]:,}", end, known))
    if len(rows) == 1:
        names = sorted({name for each in curves() for name in (*each.env.split("/"), each.env)})
        raise UsageError(f"{nearest(part, names, 'part of a task with a published curve')} {ALL}")
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)
