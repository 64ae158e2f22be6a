"""`dreamer-plugin play`: a trained agent in its env, in a window or as a film."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from dreamer_plugin.doors import cli_evaluate
from dreamer_plugin.doors.cli_import import EnvImport

ABOUT = """Show a trained agent in its env: in a window, or as GIF or mp4.

Without --out a window opens where there is a display and the env has one; else RUN/play.gif is \
written. docs/play.md says more.

[bold]Examples[/bold]

  dreamer-plugin play runs/mine
  dreamer-plugin play runs/mine --out mine.mp4 --episodes 3
"""


def play(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A .gif or .mp4 to write.")
    ] = None,
    episodes: Annotated[int, typer.Option(metavar="N", min=1, help="To play.")] = 1,
    which: Annotated[
        str | None, typer.Option(metavar="best|latest|STEP", help="Which checkpoint of the run.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of env and noise.")] = 0,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--sampled", help="Likeliest or drawn actions; the authors' by default."
        ),
    ] = None,
    allow_env_import: EnvImport = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Show an agent."""
    path = cli_evaluate.chosen(run, None, which)
    from dreamer_plugin.run.evaluate import choose
    from dreamer_plugin.study import play as shows

    chosen = choose(path, which or "best")
    wants_window = out is None and has_display(os.environ, sys.platform)
    file = out or chosen.run / "play.gif"
    shows.require_video(file)
    frames: list[shows.Frame] = []
    fps = shows.FALLBACK_FPS
    mode = "human" if wants_window else "rgb_array"
    played = shows.play(chosen, episodes, seed, deterministic, mode, device)
    for number, (episode, rate) in enumerate(played, 1):
        end = "the task" if episode.ended else "a limit"
        typer.echo(
            f"episode {number}: return {sum(episode.rewards):.2f} in {len(episode.rewards)} steps, "
            f"ended by {end}"
        )
        frames, fps = frames + episode.frames, rate
    if frames:
        shows.write_video(file, frames, fps)
        typer.echo(f"{file}: {len(frames)} frames, {fps} a second")


def has_display(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a window can open."""
    if platform != "linux":
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
