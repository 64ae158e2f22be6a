"""The YAML files of `configs/`: where they are, what they are called, and how one is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dreamer_plugin.config.yamlfile import read_yaml
from dreamer_plugin.errors import UsageError, nearest

PACKAGE = Path(__file__).resolve().parents[1]
SHELVES = ("agent", "reference", "ablation", "ext")  # folders whose files `--config NAME` finds
SIZES = ("1m", "12m", "25m", "50m", "100m", "200m", "400m")  # smallest first
LADDERS = (SIZES, ("small", "medium", "large", "xlarge"))  # sizes that replace each other


@dataclass(frozen=True)
class Preset:
    """One file below `configs/`."""

    shelf: str
    name: str
    tree: dict[str, Any]

    @property
    def source(self) -> str:
        """How it is named to a user, for example `agent/v3.yaml`."""
        return f"{self.shelf}/{self.name}.yaml"


@lru_cache(maxsize=1)
def configs_folder() -> Path:
    """The presets: inside an installed package, next to the package in a source tree."""
    for folder in (PACKAGE / "configs", PACKAGE.parent / "configs"):
        if (folder / "agent").is_dir():
            return folder
    raise FileNotFoundError(f"no configs folder in {PACKAGE} or next to it: broken installation")


def names(shelf: str) -> list[str]:
    """Names of the presets on a shelf, sizes from small to large, others by alphabet."""
    found = sorted(path.stem for path in (configs_folder() / shelf).glob("*.yaml"))
    ladders = [name for ladder in LADDERS for name in ladder]
    order = {name: rank for rank, name in enumerate(ladders)} if shelf == "size" else {}
    return sorted(found, key=lambda name: order.get(name, len(order)))


def ladder(size: str) -> tuple[str, ...]:
    """The sizes that a size stands among, smallest first; empty for one of a user's own."""
    return next((sizes for sizes in LADDERS if size in sizes), ())


def find(shelf: str, name: str) -> Preset | None:
    """A preset, or None when there is no such file."""
    if name not in names(shelf):
        return None
    path = configs_folder() / shelf / f"{name}.yaml"
    return Preset(shelf, name, _read(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> dict[str, Any]:
    """A file, parsed once for each time `changed` that it was written; nobody alters the result."""
    return read_yaml(path)


def get(shelf: str, name: str) -> Preset:
    """A preset that must exist.

    Raises:
        UsageError: naming the nearest and all valid ones.
    """
    preset = find(shelf, name)
    if preset is None:
        raise UsageError(nearest(name, names(shelf), shelf))
    return preset


def meant() -> list[str]:
    """All names that `--config` takes."""
    return [name for shelf in SHELVES for name in names(shelf)]


def named(name: str) -> Preset:
    """The preset that `--config NAME` means.

    Raises:
        UsageError: naming the nearest and all valid ones.
    """
    for shelf in SHELVES:
        preset = find(shelf, name)
        if preset is not None:
            return preset
    raise UsageError(nearest(name, meant(), "config") + " A file is given by its path, with .yaml.")
