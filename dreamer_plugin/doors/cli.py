"""The command line.

Only Typer is loaded here, everything else by the command that needs it, so that help and mistakes
answer at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dreamer_plugin.doors import (
    cli_compare,
    cli_doctor,
    cli_evaluate,
    cli_export,
    cli_help,
    cli_plan,
    cli_play,
    cli_report,
    cli_reproduce,
    cli_share,
)
from dreamer_plugin.doors.cli_import import EnvImport
from dreamer_plugin.doors.cli_usage import OneLineGroup
from dreamer_plugin.doors.dialects import words_cli
from dreamer_plugin.doors.idle_threads import let_threads_sleep_if_busy
from dreamer_plugin.doors.run_paths import refuse_env_object
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.pretrained import place

app = typer.Typer(
    cls=OneLineGroup,
    name="dreamer-plugin",
    help=cli_help.ABOUT,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def option(flag: str, metavar: str, text: str, panel: str = cli_help.WHAT) -> Any:
    """A Typer option that takes a value."""
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=panel)


Text = str | None  # numbers too: they are read with the configuration, so that 1e6 is one
Names = list[str] | None
Env = Annotated[Text, option("--env", "ID", "Suite and task, such as atari/Pong; see `envs`.")]
Configs = Annotated[
    Names, option("--config", "NAME|FILE", "A preset (v3) or a YAML file; may be repeated.")
]
Algo = Annotated[
    Text, option("--algo", "NAME", "Dreamerv1, Dreamerv2 or Dreamerv3, for --config v1, v2, v3.")
]
Size = Annotated[Text, option("--size", "SIZE", "1m 12m 25m 50m 100m 200m or 400m.")]
Steps = Annotated[Text, option("--steps", "N", "Agent steps over all envs; a repeat counts once.")]
Seed = Annotated[Text, option("--seed", "N", "Of envs, weights and noise.")]
Protocol = Annotated[
    Text,
    option("--protocol", "auto|published", "published: as published, or refuse with the sum."),
]
Device = Annotated[Text, option("--device", "DEVICE", "auto, cpu, cuda, cuda:1.", cli_help.WHERE)]
Precision = Annotated[
    Text,
    option("--precision", "P", "auto, bfloat16, float32; auto: bfloat16 if fast.", cli_help.WHERE),
]
Compile = Annotated[
    Text,
    option(
        "--compile", "auto|off|on|graph", "auto: if long; graph: CUDA replays it.", cli_help.WHERE
    ),
]
NumEnvs = Annotated[Text, option("--num-envs", "N", "Envs that run side by side.", cli_help.WHERE)]
EnvTimeout = Annotated[
    Text,
    option("--env-timeout", "S", "Seconds before a silent env is restarted.", cli_help.WHERE),
]
MinEnvs = Annotated[
    Text, option("--min-envs", "N", "End the run when fewer can be kept up.", cli_help.WHERE)
]
Logdir = Annotated[
    Text, option("--logdir", "DIR", "The run folder; runs/<env>-… by default.", cli_help.WHERE)
]
Resume = Annotated[
    str,
    option(
        "--resume",
        "auto|never|PATH",
        "Continue a run: its folder, or auto for the newest of the same env, size and seed.",
        cli_help.WHERE,
    ),
]
AllowChange = Annotated[
    bool,
    typer.Option(
        "--allow-config-change",
        help="Continue a run with other settings; they are listed.",
        rich_help_panel=cli_help.WHERE,
    ),
]
EvalEvery = Annotated[
    Text, option("--eval-every", "N", "Agent steps between evaluations; 0 is never.", cli_help.HOW)
]
EvalEpisodes = Annotated[
    Text, option("--eval-episodes", "N", "Episodes of one evaluation.", cli_help.HOW)
]
Overrides = Annotated[
    Names,
    typer.Argument(metavar="KEY=VALUE", help="Any setting; env.<option>= for those of the env."),
]
Suite = Annotated[Text, typer.Option("--suite", hidden=True)]  # `--env dmc/walker-walk` says both
Which = Annotated[Text, typer.Option(metavar="best|latest|STEP", help="Which checkpoint.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(help=cli_help.TRAIN)
def train(
    overrides: Overrides = None,
    env: Env = None,
    suite: Suite = None,
    config: Configs = None,
    algo: Algo = None,
    size: Size = None,
    steps: Steps = None,
    seed: Seed = None,
    protocol: Protocol = None,
    device: Device = None,
    precision: Precision = None,
    compile: Compile = None,
    num_envs: NumEnvs = None,
    env_timeout: EnvTimeout = None,
    min_envs: MinEnvs = None,
    logdir: Logdir = None,
    resume: Resume = "never",
    allow_config_change: AllowChange = False,
    allow_env_import: EnvImport = None,
    eval_every: EvalEvery = None,
    eval_episodes: EvalEpisodes = None,
) -> None:
    """Train an agent; the options become the strongest layer of its configuration."""
    options = {
        "size": size,
        "run.steps": steps,
        "seed": seed,
        "protocol": protocol,
        "device": device,
        "precision": precision,
        "compile": compile,
        "env.num_envs": num_envs,
        "env.timeout": env_timeout,
        "env.min_envs": min_envs,
        "run.logdir": logdir,
        "run.eval_every": eval_every,
        "run.eval_episodes": eval_episodes,
    }
    given = {key: value for key, value in options.items() if value is not None}
    from dreamer_plugin.doors.cli_config import resolve, resumed_config

    env, config = words_cli.env_id(env, suite), words_cli.configs(algo, config)
    if resume not in ("auto", "never"):
        resume = str(place(words_cli.saved(Path(resume))))
    saved = resumed_config(env, config, resume, logdir)
    resolved = resolve(env or "", [*saved, *config], words_cli.overrides(overrides), given)
    if not resolved.config.env.id:
        for run in saved:
            refuse_env_object(Path(run), "learn(N)")
        raise UsageError("Which env? Say --env atari/Pong; `dreamer-plugin envs` lists all.")
    from rich.console import Console

    from dreamer_plugin.run.loop import train as begin
    from dreamer_plugin.study.doctor import judge

    result = begin(
        resolved.config,
        resume=None if resume == "never" else resume,
        layers_report=resolved.report,
        console=Console(),
        allow_config_change=allow_config_change,
        judge=judge,
    )
    raise typer.Exit(result.exit_code)


app.command(help=cli_help.EVALUATE)(cli_evaluate.evaluate)
app.command(help=cli_report.ABOUT_REPORT)(cli_report.report)
app.command(help=cli_report.ABOUT_DIFF)(cli_report.diff)
app.command(help=cli_compare.ABOUT)(cli_compare.compare)
app.command(help=cli_plan.ABOUT)(cli_plan.plan)
app.command(help=cli_doctor.ABOUT)(cli_doctor.doctor)
app.command(help=cli_play.ABOUT)(cli_play.play)
app.command(help=cli_reproduce.ABOUT)(cli_reproduce.reproduce)
app.command(help=cli_help.EXPORT_AGENT)(cli_export.export)
app.command(help=cli_share.ABOUT_PUSH)(cli_share.push)
app.command(help=cli_share.ABOUT_PULL)(cli_share.pull)


@app.command("import-weights", help=cli_help.IMPORT)
def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Official weights.")],
    overrides: Overrides = None,
    env: Env = None,
    config: Configs = None,
    size: Size = None,
    logdir: Logdir = None,
    allow_env_import: EnvImport = None,
) -> None:
    """Make a run of official weights."""
    from dreamer_plugin.doors.cli_config import resolve

    options = {"size": size, "run.logdir": logdir}
    given = {key: value for key, value in options.items() if value is not None}
    resolved = resolve(env or "", config or [], overrides or [], given)
    if not resolved.config.env.id:
        raise UsageError("Which env were the weights trained on? Say --env atari/Pong.")
    from dreamer_plugin.run.official import import_run

    run, count = import_run(file, resolved.config, resolved.report)
    typer.echo(
        f"{count:,} weights imported into {run}\n"
        f"  evaluate:  dreamer-plugin evaluate {run} --episodes 20\n"
        f"  continue:  dreamer-plugin train --resume {run}"
    )


@app.command("export-weights", help=cli_help.EXPORT)
def export_weights(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="The file to make.")],
    which: Which = None,
) -> None:
    """Write the weights of a run with official names."""
    path = cli_evaluate.chosen(run, None, which)
    if file.suffix != ".npz":
        raise UsageError(f"{file} is no file of official weights: end it in .npz.")
    from dreamer_plugin.run.official import export_run

    checkpoint, count = export_run(path, file, which or "best")
    typer.echo(f"{count:,} weights of {checkpoint.name} written to {file}")


@app.command(help=cli_help.SHOW)
def show(
    words: Annotated[
        Names,
        typer.Argument(metavar="RUN|KEY=VALUE", help="A run folder, or settings."),
    ] = None,
    env: Env = None,
    config: Configs = None,
    size: Size = None,
    protocol: Protocol = None,
    allow_env_import: EnvImport = None,
    why: Annotated[
        Text, typer.Option(metavar="KEY", help="Say who set this setting, and over what.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a resolved configuration."""
    from dreamer_plugin.doors import cli_show

    options = {"size": size, "protocol": protocol}
    given = {key: value for key, value in options.items() if value is not None}
    shown = cli_show.resolve_words(words or [], env or "", config or [], given)
    if why is not None:
        typer.echo(cli_show.why(shown, why, as_json))
    else:
        typer.echo(cli_show.as_json(shown) if as_json else cli_show.as_yaml(shown))
        if not as_json:
            cli_show.print_report(shown)


@app.command(help=cli_help.ENVS)
def envs(
    suite: Annotated[Text, typer.Argument(metavar="SUITE", help="List its tasks.")] = None,
    as_json: Json = False,
) -> None:
    """List what can be learned."""
    from dreamer_plugin.doors import cli_envs

    typer.echo(cli_envs.suite_text(suite, as_json) if suite else cli_envs.suites_text(as_json))


@app.command(name="check-env", help=cli_help.CHECK_ENV)
def check_env(
    env: Annotated[str, typer.Argument(metavar="ID", help="Of the env, suite/task.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Options of the env.")
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Random steps.")] = 1000,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the first frames go, as PNG.")
    ] = None,
    as_json: Json = False,
    allow_env_import: EnvImport = None,
) -> None:
    """Examine an env."""
    from dreamer_plugin.doors import cli_check
    from dreamer_plugin.doors.cli_meter import metered

    with metered():
        report = cli_check.run(env, cli_check.options_of(options or []), steps, picture)
    typer.echo(cli_check.text(report, env, as_json))
    if report.faults:
        raise typer.Exit(1)


@app.command(help=cli_help.BENCH)
def bench(
    overrides: Overrides = None,
    workload: Annotated[str, typer.Option(metavar="NAME", help="What to time.")] = "proprio1m",
    only: Annotated[
        str, typer.Option(metavar="PART,...", help="Of update, policy, replay and envs.")
    ] = "",
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="P", help="auto, bfloat16, float32.")] = "auto",
    updates: Annotated[int, typer.Option(metavar="N", min=1, help="Updates to time.")] = 10,
    as_json: Json = False,
) -> None:
    """Measure how fast this machine learns and acts."""
    from dreamer_plugin.doors import cli_bench

    typer.echo(cli_bench.run(workload, only, device, precision, updates, overrides or [], as_json))


@app.command()
def version() -> None:
    """Print the versions of the package and of what it stands on."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    lines = []
    for name in ("dreamer-plugin", "torch", "torchrl", "tensordict", "gymnasium"):
        try:
            lines.append(f"{name} {installed(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    typer.echo("\n".join([*lines, f"python {platform.python_version()}"]))


def main() -> None:
    """Entry point of `dreamer-plugin`."""
    let_threads_sleep_if_busy(os.environ, Path("/proc/loadavg"))
    app()
