"""Several agents on one env: every seed of every agent is a cell of its own, done once.

    DIR/contest.json              what is compared; the same again when it goes on
    DIR/<agent>-s<seed>/          a cell: a run folder of Dreamer, or numbers alone
        metrics.jsonl             its evaluations, rows with `eval/mean`

Cells are made as `cells.py` says. Dreamer goes on where it was cut, others begin anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from dreamer_plugin.config import Config
from dreamer_plugin.config.fields import OPTIONS
from dreamer_plugin.config.secrets import hidden
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.folder import LOCK, RunFolder
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.metrics import JSONL, read_metrics
from dreamer_plugin.study import cells
from dreamer_plugin.study.baselines import settings_of, train_baseline
from dreamer_plugin.study.contest_names import DREAMERS

FILE = "contest.json"


@dataclass(frozen=True)
class Contest:
    """What is compared, and how.

    Args:
        env: id of it. agents: of `contest_names.AGENTS`. seeds: 0 to one less. steps: of each cell.
        eval_every: steps between evaluations. episodes: of each.
        settings: agent -> where its settings come from, in words.
    """

    env: str
    agents: list[str]
    seeds: int
    steps: int
    eval_every: int
    episodes: int
    settings: dict[str, str]

    def cells(self) -> list[Cell]:
        """One per agent and seed; all agents of a seed before the next one."""
        return [Cell(agent, seed) for seed in range(self.seeds) for agent in self.agents]


@dataclass(frozen=True)
class Cell:
    """One training."""

    agent: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.agent}-s{self.seed}"


def origin(agent: str, cfg: Config, given: Sequence[str] = ()) -> str:
    """Where the settings of an agent come from, in words, and how it sees the env.

    Args:
        agent: its name. cfg: has its env. given: settings of a Dreamer that are not its preset's.
    """
    options = {key: hidden(f"{OPTIONS}.{key}", value) for key, value in cfg.env.options.items()}
    seen = [f"env.{key}={value}" for key, value in sorted(options.items())]
    words = [settings_of(agent, cfg.env.id)[1]]
    if agent in DREAMERS:
        words = [f"preset {' '.join(DREAMERS[agent])} and the protocol of the suite", *given]
    return ", ".join(dict.fromkeys([*words, *seen]))


def enter(contest: Contest, folder: Path) -> None:
    """Begin in a folder, or go on in it.

    Raises:
        UsageError: when something else is compared there.
    """
    if cells.enter(folder, FILE):
        before, now = cells.read_plan(folder, FILE, "compares"), asdict(contest)
        # Agents and seeds may be added: the cells that are there stay as they are.
        fixed = ("env", "steps", "eval_every", "episodes")
        other = [f"{key} {before[key]} there, {now[key]} here" for key in fixed
                 if before[key] != now[key]]  # fmt: skip
        other += [f"{agent} has {before['settings'][agent]} there, {told} here"
                  for agent, told in contest.settings.items()
                  if before["settings"].get(agent, told) != told]  # fmt: skip
        if other:
            raise UsageError(f"{folder} compares something else: {'; '.join(other)}. Use --out.")
        agents = list(dict.fromkeys([*before["agents"], *contest.agents]))
        contest = replace(
            contest,
            agents=agents,
            seeds=max(before["seeds"], contest.seeds),
            settings=before["settings"] | contest.settings,
        )
    cells.write_plan(folder, FILE, asdict(contest))


def run_cells(
    contest: Contest,
    folder: Path,
    config: Callable[[Cell], Config],
    tell: Callable[[str], None] = print,
) -> list[str]:
    """Make every cell that is not done.

    Args:
        contest: what is compared. folder: where. config: settings of a cell; of a baseline its
            env, seed and device alone. tell: takes lines of progress.

    Returns:
        Names of the cells that failed now.
    """
    todo = [
        cells.Cell(
            cell.name,
            contest.settings[cell.agent],
            partial(_make, contest, cell, config, tell),
        )
        for cell in contest.cells()
    ]
    return cells.make_all(todo, folder, tell)


def _make(
    contest: Contest,
    cell: Cell,
    config: Callable[[Cell], Config],
    tell: Callable[[str], None],
    place: Path,
) -> dict[str, Any]:
    cfg = config(cell)
    run = replace(
        cfg.run,
        logdir=str(place),
        steps=contest.steps,
        eval_every=contest.eval_every,
        eval_episodes=contest.episodes,
    )
    cfg = replace(cfg, seed=cell.seed, run=run)
    if cell.agent in DREAMERS:
        quiet = Console(quiet=True)
        result = train(cfg, resume="auto", console=quiet, callbacks=[cells.tell_steps])
        if result.interrupted:
            raise cells.Stopped(result.exit_code)
    else:
        with RunFolder(place).locked():
            _empty(place)  # it cannot go on where it was cut
            train_baseline(
                cell.agent, cfg, place, contest.steps, contest.eval_every, contest.episodes, tell
            )
    measured = evaluations(place)
    if not measured:
        raise UsageError(f"no evaluation of {cell.name} gave a finite return")
    last = measured[-1]
    tell(f"  {cell.name}: {last['eval/mean']:.2f} after {last['seconds']:.0f} s")
    return {"step": last["step"], "seconds": last["seconds"], "mean": last["eval/mean"]}


def _empty(place: Path) -> None:
    """Remove all but the lock, which is held."""
    for each in place.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != LOCK:
            each.unlink()


def evaluations(place: Path) -> list[dict[str, Any]]:
    """Rows of a cell's evaluations, oldest first; none where nothing was measured yet."""
    if not (place / JSONL).is_file():
        return []
    return [row for row in read_metrics(place) if row.get("eval/mean") is not None]


def read_contest(folder: Path) -> Contest:
    """What a folder compares.

    Raises:
        UsageError: when it is no such folder.
    """
    return Contest(**cells.read_plan(folder, FILE, "compares"))


def failures(contest: Contest, folder: Path) -> dict[str, str]:
    """Cells that failed -> why."""
    return cells.failures((cell.name for cell in contest.cells()), folder)


def grid(contest: Contest) -> Sequence[int]:
    """Steps at which every cell was evaluated, about."""
    return range(contest.eval_every, contest.steps + 1, contest.eval_every)
