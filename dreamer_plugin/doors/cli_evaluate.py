"""`dreamer-plugin evaluate`: which run or checkpoint is meant, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dreamer_plugin.doors.cli_import import EnvImport, EnvPython
from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.doors.cli_seed import Seed
from dreamer_plugin.doors.dialects import words_cli
from dreamer_plugin.doors.run_paths import meant_run, refuse_env_object, run_of
from dreamer_plugin.errors import UsageError

Hidden = Annotated[str | None, typer.Option(hidden=True)]  # a run knows its env


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")
    ] = None,
    episodes: Annotated[int, typer.Option(metavar="N", min=1, help="Episodes to play.")] = 20,
    which: Annotated[
        str | None, typer.Option(metavar="best|latest|STEP", help="Which checkpoint of the run.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="PATH", help="In the place of RUN.")
    ] = None,
    env: Hidden = None,
    suite: Hidden = None,
    seed: Seed = 0,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--sampled", help="Likeliest or drawn actions; the authors' by default."
        ),
    ] = None,
    both: Annotated[bool, typer.Option("--both", help="Play both ways; twice the time.")] = False,
    quality: Annotated[
        bool, typer.Option("--quality/--no-quality", help="Measure the world model too.")
    ] = True,
    horizon: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Frames that it foresees; 45 by default.")
    ] = None,
    save_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write JSON, CSV and a picture there.")
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Films too, as GIF.")] = False,
    allow_env_import: EnvImport = None,
    allow_env_python: EnvPython = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Play episodes with a trained agent."""
    path = chosen(run, checkpoint, which)
    refuse_env_object(path)
    require_env(path, words_cli.env_id(env, suite))
    if video and save_dir is None:
        raise UsageError("--video needs a place: add --save-dir DIR.")
    if horizon is not None and not quality:
        raise UsageError("--horizon is of the world model's measures: leave out --no-quality.")
    from dreamer_plugin.study.evaluation import evaluate_fully
    from dreamer_plugin.study.evaluation_files import require_folder, require_images
    from dreamer_plugin.study.quality import HORIZON

    if video:
        require_images(path, which or "best")
    if save_dir is not None:
        require_folder(save_dir)
    with metered():
        found = evaluate_fully(
            path,
            episodes=episodes,
            which=which or "best",
            seed=seed,
            deterministic=deterministic,
            both=both,
            device=device,
            quality=quality,
            horizon=horizon or HORIZON,
        )
    report = found.to_dict()
    typer.echo(json.dumps(report) if as_json else text(report))
    if save_dir is not None:
        _write(found, save_dir, video)


def _write(found: Any, folder: Path, video: bool) -> None:
    """Write the files and say on stderr which."""
    from dreamer_plugin.study import evaluation_files

    files = evaluation_files.write(found, folder, video)
    typer.echo(f"{folder}: {', '.join(file.name for file in files)}", err=True)
    if not evaluation_files.has_matplotlib():
        typer.echo(f"No picture without matplotlib: {evaluation_files.EXTRA}", err=True)


def text(report: dict[str, Any]) -> str:
    """A report for people."""
    where = f"{report['run']}, checkpoint {report['checkpoint']} (step {report['step']:,})"
    lines = [f"{report['env']} by {where}"]
    lines += [_returns(each) for each in (report, report.get("other")) if each]
    return "\n".join(lines + (_quality(report["quality"]) if "quality" in report else []))


def _returns(report: dict[str, Any]) -> str:
    policy = "likeliest" if report["deterministic"] else "drawn"
    return (
        f"return over {report['episodes']} episodes, {policy} actions: mean {report['mean']:.2f}, "
        f"std {report['std']:.2f}, median {report['median']:.2f}, "
        f"from {report['min']:.2f} to {report['max']:.2f}\n"
        f"  interquartile mean {report['iqm']:.2f}, "
        f"95 % interval {report['iqm_low']:.2f} to {report['iqm_high']:.2f}\n"
        f"  mean length {report['length_mean']:.1f} steps"
        + (f", success in {report['success']:.0%} of the episodes" if "success" in report else "")
    )


def _quality(quality: dict[str, Any]) -> list[str]:
    """Lines on the world model: what it reconstructs, and that some and all frames ahead."""
    last = len(quality["starts"]) - 1
    columns = dict.fromkeys((0, min(15, last), last))
    lines = [
        f"world model on {quality['frames']:,} frames, {quality['terminals']} of them terminal: "
        f"KL {quality['kl']:.2f} nats",
        "  reconstruction, and open loop " + ", ".join(f"{k}" for k in columns) + " frames ahead:",
    ]
    for name, curve in quality["open_loop"].items():
        values = [quality["reconstruction"].get(name), *(curve[k] for k in columns)]
        shown = "  ".join("       -" if v is None else f"{v:8.4g}" for v in values)
        lines.append(f"    {name:<20} {shown}")
    return lines


def chosen(run: Path | None, checkpoint: Path | None, which: str | None) -> Path:
    """The folder that is meant.

    Args:
        run, checkpoint: one of them, in any spelling. which: `--which`, where it was given.

    Raises:
        UsageError: none or both are given, nothing is there, or `which` chooses a second time.
    """
    if run is not None and checkpoint is not None:
        raise UsageError(f"Give RUN {run} or --checkpoint {checkpoint}, not both.")
    given = run or checkpoint
    if given is None:
        raise UsageError("Missing argument 'RUN'. See dreamer-plugin evaluate --help.")
    path = meant_run(words_cli.saved(given))
    if which is not None and (path / "manifest.json").is_file():
        raise UsageError(f"{path} is a checkpoint already: leave out --which {which}.")
    return path


def require_env(path: Path, env: str | None) -> None:
    """Refuse an env that is not the one the run at `path` was trained on."""
    if env is None:
        return
    import dreamer_envs
    from dreamer_plugin.config import load_config

    run = run_of(path) or path
    own = load_config(run / "config.yaml").env.id
    if dreamer_envs.canonical(env) != own:
        raise UsageError(f"--env {env}, but {run} was trained on {own}.")
