"""Which run a path means, and what is said when it means none."""

from __future__ import annotations

import difflib
from pathlib import Path

import typer

from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.pretrained import place

CONFIG = "config.yaml"  # what makes a folder one of a run


def require_run(run: str | Path, hint: str = "") -> Path:
    """Where a run lies that is named so; `pretrained/NAME` is one that came with the package.

    Args:
        run: its folder, or something in it. hint: said where no run has a similar name.

    Raises:
        UsageError: it is missing; names the one beside it with a similar name.
    """
    run = place(run)
    if run.is_dir():
        return run
    if run.is_file():
        hint = " Exported weights are for Dreamer.load." if run.suffix == ".safetensors" else hint
        raise UsageError(f"{run} is a file; name the folder of a run.{hint}")
    raise UsageError(f"There is no run folder {str(run)!r}.{similar_run(run) or hint}")


def meant_run(run: str | Path) -> Path:
    """As `require_run`; of a folder of runs the newest one, and says on stderr which that is."""
    path = require_run(run)
    if run_of(path) is not None:
        return path
    from dreamer_plugin.run.folder import find_run  # loads PyTorch

    found = find_run(path)
    if found is None or path.resolve() not in found.resolve().parents:
        return path  # where it is no run, that is said when it is read
    typer.echo(
        f"{path} is a folder of runs: {found} was written to last, so it is taken.", err=True
    )
    return found


def similar_run(path: Path) -> str:
    """What to ask who named a run that is not there: whether one beside it was meant."""
    beside = [run.name for run in _runs_in(path.parent)]
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.4)
    return f" Did you mean {str(path.parent / close[0])!r}?" if close else ""


def run_of(path: Path) -> Path | None:
    """The run that a folder is, or that it is a checkpoint of; None where it is neither."""
    folders = [path, *path.parents[:2]]
    return next((folder for folder in folders if (folder / CONFIG).is_file()), None)


def require_run_of(path: Path) -> Path:
    """As `run_of`.

    Raises:
        UsageError: it is neither; names the run in it that was begun last.
    """
    run = run_of(path)
    if run is not None:
        return run
    newest = max(_runs_in(path), key=lambda run: (run / CONFIG).stat().st_mtime, default=None)
    hint = f" Did you mean {str(newest)!r}?" if newest else ""
    raise UsageError(f"{path} is not a run folder: it has no {CONFIG}.{hint}")


def refuse_env_object(path: Path, then: str = "evaluate()", instead: str = "") -> None:
    """Refuse to play where the env was passed as an object, which no command can make again.

    Args:
        path: of a run, or something in it. then: what to call in Python. instead: what does without
            an env here.

    Raises:
        UsageError: with the line of Python that works.
    """
    run = run_of(path)
    if run is None:
        return  # that is said where it is read
    from dreamer_plugin.config import load_config

    if not load_config(run).env.id:
        raise UsageError(
            f"{run} was trained on an env object, which no command can make: say in Python "
            f'Dreamer.load("{run}", env=YourEnv).{then}{instead}.'
        )


def _runs_in(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob(f"*/{CONFIG}")]
