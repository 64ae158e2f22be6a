"""`dreamer-plugin play`: a trained agent in its env, in a window, as a film, or in its dream."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamer_plugin.doors import cli_evaluate
from dreamer_plugin.doors.cli_import import EnvImport, EnvPython
from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.doors.cli_seed import Seed
from dreamer_plugin.doors.run_paths import refuse_env_object
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.pretrained import beside

if TYPE_CHECKING:
    from dreamer_plugin.run.evaluate import Chosen
    from dreamer_plugin.study.dream import Dream

ABOUT = """Show a trained agent in its env: in a window, or as GIF or mp4.

Without --out a window opens where there is a display and the env has one; else RUN/play.gif is \
written. With --dream a page opens, on this machine alone, on which you or the policy steer inside \
the learned world, next to the real env. docs/play.md says more.

[bold]Examples[/bold]

  dreamer-plugin play runs/mine
  dreamer-plugin play runs/mine --out mine.mp4 --episodes 3
  dreamer-plugin play runs/mine --dream
"""


def play(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A .gif or .mp4 to write.")
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="To play; 1 by default.")
    ] = None,
    dream: Annotated[
        bool, typer.Option("--dream", help="Steer in the learned world, on a web page.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=65535, help="Of the page; a free one by default."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page where there is a display.")
    ] = True,
    which: Annotated[
        str | None, typer.Option(metavar="best|latest|STEP", help="Which checkpoint of the run.")
    ] = None,
    seed: Seed = 0,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--sampled", help="Likeliest or drawn actions; the authors' by default."
        ),
    ] = None,
    allow_env_import: EnvImport = None,
    allow_env_python: EnvPython = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Show an agent."""
    path = cli_evaluate.chosen(run, None, which)
    refuse_env_object(path)
    if dream and (out is not None or episodes is not None):
        raise UsageError("--dream is a page, not a film: leave out --out and --episodes.")
    if port is not None and not dream:
        raise UsageError("--port is of the page: add --dream.")
    from dreamer_plugin.run.evaluate import choose

    chosen = choose(path, which or "best")
    if dream:
        _serve(lambda: _dream(chosen, seed, deterministic, device), port or 0, browser)
    else:
        _film(chosen, out, episodes or 1, seed, deterministic, device)


def _film(
    chosen: Chosen,
    out: Path | None,
    episodes: int,
    seed: int,
    deterministic: bool | None,
    device: str,
) -> None:
    """In a window where there is one, else to a file."""
    from dreamer_plugin.run.films import FPS
    from dreamer_plugin.study import play as shows

    wants_window = out is None and has_display(os.environ, sys.platform)
    file = out or beside(chosen.run, "play.gif")
    shows.require_video(file)
    frames: list[shows.Frame] = []
    fps = FPS
    mode = "human" if wants_window else "rgb_array"
    played = shows.play(chosen, episodes, seed, deterministic, mode, device)
    with metered():
        for number, (episode, rate) in enumerate(played, 1):
            end = "the task" if episode.ended else "a limit"
            typer.echo(
                f"episode {number}: return {sum(episode.rewards):.2f} in "
                f"{len(episode.rewards)} steps, ended by {end}"
            )
            frames, fps = frames + episode.frames, rate
        if frames:
            shown = shows.write_video(file, frames, fps)
    if frames:
        typer.echo(f"{file}: {len(frames)} frames, {shown:.3g} a second")


def _dream(chosen: Chosen, seed: int, deterministic: bool | None, device: str) -> Dream:
    from dreamer_plugin.study.dream import Dream

    return Dream(chosen, seed, deterministic, device)


def _serve(make: Callable[[], Dream], port: int, browser: bool) -> None:
    """Answer until Ctrl-C."""
    from dreamer_plugin.study.dream_server import DreamServer

    with DreamServer(make, port) as server:
        number = server.server_port
        typer.echo(
            f"{server.address}\n"
            "Open it in a browser on this machine; Ctrl-C ends it. The address is a secret.\n"
            f"From another machine first: ssh -L {number}:127.0.0.1:{number} THIS_MACHINE"
        )
        if browser and has_display(os.environ, sys.platform):
            webbrowser.open(server.address)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def has_display(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a window can open."""
    if platform != "linux":
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
