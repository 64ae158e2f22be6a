"""`dreamer-plugin push` and `pull`: runs for others, and theirs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dreamer_plugin.doors import cli_evaluate
from dreamer_plugin.doors.cli_import import EnvImport
from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.doors.cli_seed import Seed
from dreamer_plugin.doors.run_paths import refuse_env_object, require_run

ABOUT_PUSH = """Share a run: one checkpoint, settings, numbers and a model card; no replay.

DEST is a new folder, or hf://user/name on the Hugging Face hub (extra hub; log in with its own \
tool, `hf auth login`). The weights are played first, for the table of the card. \
Secrets and places of this machine are left out. docs/share.md says more.

[bold]Examples[/bold]

  dreamer-plugin push runs/mine shared/mine --license apache-2.0
  dreamer-plugin push runs/mine hf://me/dreamer-walker --private --dtype bfloat16
"""

ABOUT_PULL = """Take a shared run: from hf://user/name, a folder, or pretrained/NAME.

Sizes and hashes are checked, and it must load, before FOLDER is there. Nothing in it is \
unpickled, imported or started. evaluate, play and Dreamer.load work on FOLDER.

[bold]Examples[/bold]

  dreamer-plugin pull hf://me/dreamer-walker runs/theirs
  dreamer-plugin pull pretrained/cartpole runs/cartpole
"""


def push(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")
    ],
    dest: Annotated[str, typer.Argument(metavar="DEST", help="A new folder, or hf://user/name.")],
    which: Annotated[
        str | None, typer.Option(metavar="best|latest|STEP", help="Which checkpoint of the run.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="float32|bfloat16", help="Of the weights.")
    ] = "float32",
    episodes: Annotated[
        int, typer.Option(metavar="N", min=0, help="To play for the card; 0: none.")
    ] = 20,
    seed: Seed = 0,
    licence: Annotated[
        str, typer.Option("--license", metavar="NAME", help="Of the weights, such as apache-2.0.")
    ] = "",
    note: Annotated[str, typer.Option(metavar="TEXT", help="A paragraph for the card.")] = "",
    private: Annotated[
        bool, typer.Option("--private", help="Of a repository that is made.")
    ] = False,
    allow_env_import: EnvImport = None,
) -> None:
    """Share a run."""
    path = cli_evaluate.chosen(run, None, which)
    if episodes:
        refuse_env_object(path, instead=", or share it unplayed with --episodes 0")
    from dreamer_plugin.study.share import Terms
    from dreamer_plugin.study.share import push as share

    terms = Terms(dtype, episodes, seed, licence, note, private)
    with metered():
        where = share(path, dest, which or "best", terms)
    size = ""
    if Path(where).is_dir():
        total = sum(file.stat().st_size for file in Path(where).rglob("*") if file.is_file())
        size = f", {total / 1e6:.2f} MB"
    typer.echo(f"{where}{size}\n  take it:  dreamer-plugin pull {shlex.quote(dest)} FOLDER")


def pull(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="hf://user/name, a folder, or pretrained/NAME.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To make.")],
    allow_env_import: EnvImport = None,
) -> None:
    """Take a shared run."""
    from dreamer_plugin.study.hub import is_place
    from dreamer_plugin.study.share import pull as take

    if not is_place(source):
        require_run(source)
    with metered():
        facts = take(source, folder)
    lines = [
        f"{folder}: {facts['env'] or 'an env of its own'}, step {facts['step']:,}",
        f"  evaluate:  dreamer-plugin evaluate {folder} --episodes 20",
        f"  dream:     dreamer-plugin play {folder} --dream",
    ]
    if not facts["env"]:
        lines[1:] = [
            f'  evaluate:  Dreamer.load("{folder}", env=YourEnv).evaluate(20), in Python',
            f"  export:    dreamer-plugin export {folder}",
        ]
    typer.echo("\n".join(lines))
