"""Giving a run to others and taking theirs: a folder, or the Hugging Face hub."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run import shared
from dreamer_plugin.run.evaluate import Chosen, choose
from dreamer_plugin.run.machine import read_machines
from dreamer_plugin.run.pretrained import PREFIX, is_ours, place
from dreamer_plugin.study import hub
from dreamer_plugin.study.card import card
from dreamer_plugin.study.evaluation import evaluate_fully


@dataclass(frozen=True)
class Terms:
    """How a run is shared.

    Args:
        dtype: of the weights. episodes: to play with them first, 0 for none.
        seed: of these. licence: of the weights. note: a paragraph of the card.
        private: of a repository that is made.
    """

    dtype: str = "float32"
    episodes: int = 20
    seed: int = 0
    licence: str = ""
    note: str = ""
    private: bool = False


def push(run: str | Path, target: str, which: str = "best", terms: Terms | None = None) -> str:
    """Write a run for others.

    Args:
        run: its folder, or one checkpoint in it. target: a new folder, or `hf://user/name`.
        which: the checkpoint, when `run` is none. terms: as by default.

    Returns:
        Where it is: the folder, or the address of the commit.

    Raises:
        UsageError: when there is no run, the place is taken or refuses, or a file would reveal a
            secret; nothing is left there then.
        CheckpointError: when the checkpoint is damaged.
    """
    on_hub = hub.is_place(target)
    if on_hub:
        hub.parse(target)
    terms, chosen = terms or Terms(), choose(run, which)
    if terms.private and not on_hub:
        raise UsageError(f"{target} is a folder, which is not private: name hf://user/name.")
    if not on_hub:
        with shared.filling(Path(target)) as folder:
            _fill(folder, chosen, terms, _name(Path(target)))
        return target
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        folder.mkdir()
        _fill(folder, chosen, terms, target)
        return hub.upload(folder, target, terms.private)


def pull(source: str, folder: str | Path) -> dict[str, Any]:
    """Take a shared run, verified; see `run.shared.take`.

    Args:
        source: `hf://user/name`, the folder of a shared run, or `pretrained/NAME`.
        folder: to make.

    Returns:
        Facts of its checkpoint.
    """
    fetch = hub.fetcher(source) if hub.is_place(source) else _copier(place(source))
    return shared.take(fetch, Path(folder))


def _fill(folder: Path, chosen: Chosen, terms: Terms, name: str) -> None:
    shared.write(chosen, folder, terms.dtype)
    written = choose(folder, "latest")
    found = None
    if terms.episodes:
        found = evaluate_fully(folder, terms.episodes, "latest", terms.seed, device="cpu").to_dict()
        del found["run"]
        (folder / shared.EVALUATION).write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    meta = shared.facts(written.path) | {"dtype": terms.dtype}
    machines = read_machines(folder)
    machine = (
        {key: value for key, value in machines[-1].items() if key != "step"} if machines else {}
    )
    text = card(written.cfg, meta, machine, found, name, terms.licence, terms.note)
    (folder / shared.CARD).write_text(text, encoding="utf-8")
    shared.seal(folder)


def _name(target: Path) -> str:
    """How a folder is called in its card; places of this machine are nobody's business."""
    return f"{PREFIX}/{target.name}" if is_ours(target) else target.name


def _copier(source: Path) -> shared.Fetch:
    """What copies a file of a folder, which may itself be a link; those in it are not followed."""
    source = source.resolve()

    def fetch(name: str, target: Path) -> None:
        path = source / name
        if any(part.is_symlink() for part in (path, path.parent)) or not path.is_file():
            hint = "; `dreamer-plugin push` makes what can be pulled" if name == shared.LIST else ""
            raise CheckpointError(f"{source} has no file {name}{hint}.")
        shutil.copyfile(path, target)

    return fetch
