"""The folder of one run: what it is called, what lies in it, and who may write there.

<run>/config.yaml  machine.jsonl  metrics.jsonl  events.out.tfevents.*  checkpoints/  records/
      .lock
"""

from __future__ import annotations

import fcntl
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TextIO

from dreamer_plugin.config.schema import Config
from dreamer_plugin.config.yamlfile import read_yaml
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.metrics import JSONL
from dreamer_plugin.run.pretrained import place
from dreamer_plugin.run.records import FOLDER as RECORDS

RUNS = Path("runs")
LOCK = ".lock"
SHARED = "share.json"  # stands in a run that was given to others, see `shared.py`
# Whole, by `yamlfile.write_text`; the log when rows are dropped from it.
WRITTEN = ("config.yaml", "layers.json", JSONL, "not-finite.json")


class RunFolder:
    """Paths of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.yaml"
        self.checkpoints = self.path / "checkpoints"
        self.records = self.path / RECORDS

    def is_run(self) -> bool:
        """Whether a run was started here."""
        return self.config_path.is_file()

    def has_log(self) -> bool:
        """Whether episodes were logged here; `Dreamer.save` writes an agent without a log."""
        return (self.path / JSONL).is_file()

    def refuse_run(self, remedy: str) -> None:
        """See that no run was started here.

        Raises:
            UsageError: with the remedy, when one was.
        """
        if self.is_run():
            raise UsageError(f"{self.path} already holds a run: {remedy}.")

    def is_shared(self) -> bool:
        """Whether it came from somewhere else, with a single checkpoint."""
        return (self.path / SHARED).is_file()

    def sweep(self) -> None:
        """Remove what a killed process left half written; only for who holds the lock."""
        for name in WRITTEN:
            for path in self.path.glob(f".{name}.*"):
                path.unlink()
        checkpoint.sweep(self.checkpoints)

    def set_aside(self) -> Path:
        """Rename the folder to `NAME.1`, or the next that is free; only for who holds the lock."""
        names = (self.path.with_name(f"{self.path.name}.{count}") for count in itertools.count(1))
        return self.path.rename(next(path for path in names if not path.exists()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one writer; the lock vanishes with the process.

        A folder that was made for this and holds nothing at the end vanishes too.

        Raises:
            UsageError: when another run trains in it, it holds a link, or nothing can be
                written there.
        """
        fresh = not self.path.exists()
        with self._opened_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"{self.path} is in use by another run: wait until that ends, or name another "
                    "folder."
                ) from error
            try:
                yield
            finally:
                if fresh and [path.name for path in self.path.iterdir()] == [LOCK]:
                    (self.path / LOCK).unlink()
                    self.path.rmdir()

    def _opened_lock(self) -> TextIO:
        """The file of the lock, in a folder that is made for it if need be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_links(self.path)
            return (self.path / LOCK).open("w")
        except OSError as error:
            raise UsageError(
                f"Cannot write a run into {self.path}: {error.strerror}; pass another --logdir."
            ) from error


def refuse_links(run: Path) -> None:
    """Refuse a run folder in which a name leads elsewhere, where it would be read or written.

    The folder itself may be a link: whoever names it knows where it leads.

    Raises:
        UsageError: naming the first link.
    """
    inside = (run, run / "checkpoints", *run.glob("checkpoints/*/"), run / RECORDS)
    for folder in inside:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_symlink():
                raise UsageError(f"{path} is a link; a run holds its files itself. Remove it.")


def run_prefix(cfg: Config) -> str:
    """How the automatic name of this config's runs begins: env, agent, size and seed."""
    env = re.sub(r"[^A-Za-z0-9.]+", "-", cfg.env.id).strip("-") or "env"
    return f"{env}-{cfg.agent}-{cfg.size}-s{cfg.seed}-"


def new_folder(cfg: Config) -> RunFolder:
    """The folder of a fresh run: `cfg.run.logdir`, or a new name below `runs/`.

    Raises:
        UsageError: when a run already stands there.
    """
    if cfg.run.logdir:
        folder = RunFolder(cfg.run.logdir)
    else:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = RunFolder(RUNS / f"{run_prefix(cfg)}{stamp}")
    folder.refuse_run(f"continue it with --resume {folder.path}, or pass another --logdir")
    return folder


def find_run(path: str | Path, wanted: Callable[[Path], bool] = lambda run: True) -> Path | None:
    """The run folder at `path`, or the one below it that was written to last.

    Args:
        path: a run folder, a checkpoint inside one, a folder of runs, or `pretrained/NAME`.
        wanted: of the runs below `path`.

    Raises:
        UsageError: when it holds links, see `refuse_links`, or no agent comes by that name.
    """
    path = place(path)
    whole = path.absolute()  # a path from inside the run lacks the names that tell
    if whole.name == "checkpoints" and not RunFolder(path).is_run():
        path = path.parent if path.parent.name else whole.parent
    elif checkpoint.is_checkpoint(path) and whole.parent.name == "checkpoints":
        run = path.parent.parent
        path = run if run.name else whole.parents[1]
    found: Path | None = path
    if not RunFolder(path).is_run():
        runs = list(path.iterdir()) if path.is_dir() else []
        runs = [run for run in runs if RunFolder(run).is_run() and wanted(run)]
        found = max(runs, key=lambda run: (_last_written(run), run.name), default=None)
    if found is not None:
        refuse_links(found)
    return found


def resumed_folder(cfg: Config, resume: str | Path) -> RunFolder | None:
    """The run to continue.

    Args:
        cfg: names the run that `auto` looks for.
        resume: `"auto"` (the run of `cfg.run.logdir`, or the newest of the same env, agent, size
            and seed below `runs/`), or the path of a run.

    Returns:
        None when `auto` finds nothing to continue.

    Raises:
        UsageError: when the path is no run, or the run was shared.
    """
    if str(resume) == "auto":
        alike = partial(_is_alike, cfg)
        found = find_run(cfg.run.logdir) if cfg.run.logdir else find_run(RUNS, alike)
        if found is None:
            return None
    else:
        found = find_run(resume)
        if found is None:
            raise UsageError(f"{resume} is not a run folder: it has no config.yaml.")
    folder = RunFolder(found)
    if folder.is_shared():
        raise UsageError(
            f"{found} was shared without optimiser and replay, so nothing can go on exactly: "
            f'Dreamer.load("{found}").learn(N) trains its agent further, in Python.'
        )
    return folder


def _is_alike(cfg: Config, run: Path) -> bool:
    """Whether a run has the env, agent, size and seed of a config; one that was shared has none."""
    if RunFolder(run).is_shared():
        return False
    try:
        tree = read_yaml(RunFolder(run).config_path)
    except UsageError:  # of somebody else
        return False
    env = tree.get("env")
    found = [env.get("id") if isinstance(env, dict) else None]
    found += [tree.get(key) for key in ("agent", "size", "seed")]
    return found == [cfg.env.id, cfg.agent, cfg.size, cfg.seed]


def _last_written(run: Path) -> float:
    files = [run / JSONL, RunFolder(run).config_path]
    return max(file.stat().st_mtime for file in files if file.exists())
