"""Agents that come with the package: `pretrained/NAME` wherever a run is named.

Each is the folder of a shared run (see `shared.py`) below `dreamer_plugin/pretrained`. Adding one
is adding a folder that `dreamer-plugin push RUN FOLDER --dtype bfloat16` made.
"""

from __future__ import annotations

from pathlib import Path

from dreamer_plugin.errors import UsageError, nearest

PREFIX = "pretrained"
FOLDER = Path(__file__).resolve().parents[1] / PREFIX


def names() -> list[str]:
    """Of all that there are."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.yaml"))


def place(path: str | Path) -> Path:
    """Where a run lies that may be one of these.

    Args:
        path: of a run, or `pretrained/NAME`. What lies at this path already goes first.

    Raises:
        UsageError: there is none of that name; the nearest is named.
    """
    path = Path(path)
    if len(path.parts) != 2 or path.parts[0] != PREFIX or path.exists():
        return path
    if path.name not in names():
        raise UsageError(nearest(path.name, names(), "pretrained agent"))
    return FOLDER / path.name


def is_ours(path: str | Path) -> bool:
    """Whether this lies in the package, where nothing is written."""
    return FOLDER in Path(path).resolve().parents


def beside(run: Path, name: str) -> Path:
    """Where a file about a run belongs: in it, or here for one of these."""
    if not is_ours(run):
        return run / name
    return Path(f"{run.name}-{name}")
