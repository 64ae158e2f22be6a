"""Trainings that belong together: each in a folder of its own, made once, none in another's way.

    DIR/<name>/                   a cell
        done.json | failed.json   how it ended

A cell that is done is not made again. One that fails leaves its reason, and the next one begins.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamer_plugin.config.yamlfile import write_text
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.telling import part_of
from dreamer_plugin.run.telling import tell as tell_progress
from dreamer_plugin.run.training import Training

DONE, FAILED = "done.json", "failed.json"


@dataclass(frozen=True)
class Cell:
    """One training that is to be made; `telling.tell` hears of its steps by its name.

    Args:
        name: of its folder. about: its settings, in words.
        make: trains in the folder that it is given, and returns the facts of `done.json`.
        enough: whether a cell that ended with these facts is the one that is wanted.
    """

    name: str
    about: str
    make: Callable[[Path], dict[str, Any]]
    enough: Callable[[dict[str, Any]], bool] = lambda facts: True


def make_all(cells: Sequence[Cell], folder: Path, tell: Callable[[str], None]) -> list[str]:
    """Make every cell that is not done.

    Args:
        cells: in their order. folder: where their folders lie. tell: takes lines of progress.

    Returns:
        Names of the cells that failed now.
    """
    failed = []
    for number, cell in enumerate(cells, 1):
        place = folder / cell.name
        title = f"[{number}/{len(cells)}] {cell.name}"
        facts = done(place)
        if facts is not None and cell.enough(facts):
            (place / FAILED).unlink(missing_ok=True)  # of who met the one that made it
            tell(f"{title}: done before")
            continue
        tell(f"{title}: {cell.about}")
        try:
            (place / FAILED).unlink(missing_ok=True)
            with part_of("trainings", number - 1, len(cells), cell.name):
                _note(place, DONE, cell.make(place))
            (place / FAILED).unlink(missing_ok=True)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            _note(place, FAILED, {"error": reason, "trace": traceback.format_exc()})
            tell(f"{title}: failed, {reason}")
            failed.append(cell.name)
    return failed


def tell_steps(training: Training) -> None:
    """A callback of `train` in the folder of a cell: says how far it is."""
    assert training.folder is not None
    tell_progress(training.folder.path.name, training.step, training.progress.steps)


def done(place: Path) -> dict[str, Any] | None:
    """Facts of a cell that is done, None of another."""
    return _facts(place / DONE)


def failures(names: Iterable[str], folder: Path) -> dict[str, str]:
    """Cells that failed -> why."""
    found = {name: _facts(folder / name / FAILED) for name in names}
    return {name: facts["error"] for name, facts in found.items() if facts}


def read_plan(folder: Path, name: str, does: str) -> dict[str, Any]:
    """What a folder's cells belong to, as its file says.

    Args:
        folder: of the cells. name: of the file. does: what such a folder does, for the error.

    Raises:
        UsageError: when there is no such file, or it was damaged.
    """
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{folder} {does} nothing: it has no {name}.")
    plan = _facts(path)
    if plan is None:
        raise UsageError(f"{path} is damaged: name another folder with --out.")
    return plan


def write_plan(folder: Path, name: str, plan: dict[str, Any]) -> None:
    """Write what `read_plan` reads, whole or not at all."""
    write_text(json.dumps(plan, indent=1) + "\n", folder / name)


def enter(folder: Path, name: str) -> bool:
    """Begin in a folder.

    Args:
        folder: made if need be. name: of the file with its plan.

    Returns:
        Whether a plan stands there already.

    Raises:
        UsageError: it is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder with --out.")
    folder.mkdir(parents=True, exist_ok=True)
    planned = (folder / name).is_file()
    if not planned and any(folder.iterdir()):
        raise UsageError(f"{folder} holds other files: name an empty folder with --out.")
    return planned


class Stopped(KeyboardInterrupt):
    """A signal ended a training; the cell goes on with the same command.

    Args:
        exit_code: of a process that ends with it.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


def _facts(path: Path) -> dict[str, Any] | None:
    """What a file says; None where it is missing, or was cut while older versions wrote it."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _note(place: Path, name: str, facts: dict[str, Any]) -> None:
    write_text(json.dumps(facts, indent=1) + "\n", place / name)
