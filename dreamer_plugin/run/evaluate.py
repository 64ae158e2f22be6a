"""Playing episodes with a trained agent and reporting how it did."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import Config, load_config
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.collect import EpisodeStats, Policy, Records, VectorCollector
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.errors import CheckpointError, UsageError, nearest
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.devices import choose_device
from dreamer_plugin.run.envs import EnvSource, source_of
from dreamer_plugin.run.folder import RunFolder, find_run
from dreamer_plugin.run.native import NativeForm
from dreamer_plugin.run.scores import interquartile_mean, interval
from dreamer_plugin.run.telling import tell
from dreamer_plugin.spaces import Spaces

# Evaluation envs and noise must not repeat what the agent was trained on with the same seed.
_STREAM = 1_000_003
PARTS = ("agent", "spaces")  # of a checkpoint, to act


@dataclass(frozen=True)
class EvalReport:
    """How an agent did over some episodes.

    Args:
        returns, lengths: per episode, in the order of the envs; a length counts agent steps.
        successes: per episode, what the env said with its last frame; None where it says nothing.
        deterministic: modes instead of samples. seed: of envs and noise.
        run, checkpoint, step, env: what was evaluated; empty for an agent in memory.
    """

    returns: list[float]
    lengths: list[int]
    seed: int
    deterministic: bool
    run: str = ""
    checkpoint: str = ""
    step: int | None = None
    env: str = ""
    successes: list[bool] | None = None

    @property
    def mean(self) -> float:
        """Mean return."""
        return statistics.fmean(self.returns)

    @property
    def std(self) -> float:
        """Standard deviation of the returns, of the population."""
        return statistics.pstdev(self.returns)

    def summary(self) -> dict[str, float]:
        """Statistics of returns and lengths by name; `iqm` is the interquartile mean.

        `success`, the share of episodes, is there where the env says whether its task was solved.
        """
        low, high = interval(self.returns)
        rate = {} if self.successes is None else {"success": statistics.fmean(self.successes)}
        return {
            "mean": self.mean,
            "std": self.std,
            "median": statistics.median(self.returns),
            "min": min(self.returns),
            "max": max(self.returns),
            "iqm": float(interquartile_mean(self.returns)),
            "iqm_low": low,
            "iqm_high": high,
            "length_mean": statistics.fmean(self.lengths),
            **rate,
        }

    def to_dict(self) -> dict[str, Any]:
        """Statistics, conditions and every episode as plain data."""
        return {"episodes": len(self.returns), **self.summary(), **asdict(self)}

    def to_json(self) -> str:
        """`to_dict` as indented JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


class Player(Policy, Protocol):
    """A policy that knows whose envs it plays."""

    @property
    def spaces(self) -> Spaces:
        """Of its envs."""


def evaluate(
    agent: Player,
    source: EnvSource,
    episodes: int,
    seed: int = 0,
    deterministic: bool = False,
    num_envs: int | None = None,
    records: Records | None = None,
) -> EvalReport:
    """Play whole episodes on fresh envs.

    Every env plays a fixed number of episodes, so that short episodes are not counted more often
    than long ones. The same seed gives the same report on the same machine.

    Args:
        agent: acts, is not changed.
        source: of the envs.
        episodes: how many in all, at least 1.
        seed: of envs and noise. deterministic: modes of posterior and policy instead of samples.
        num_envs: side by side; by default as many as the run has, at most `episodes`.
        records: takes what is seen and done, also in episodes that are played beside the counted.

    Raises:
        UsageError: for less than one episode, or envs with other spaces.
    """
    if episodes < 1:
        raise UsageError(f"episodes={episodes}: evaluate at least one episode.")
    count = min(episodes, num_envs or len(source.makers))
    quota = [episodes // count + (i < episodes % count) for i in range(count)]
    played: list[list[EpisodeStats]] = [[] for _ in range(count)]
    steps = 0
    vector = source.vector(seed + _STREAM, count)
    try:
        spaces = Spaces.from_gym(vector.observation_space, vector.action_space)
        agent.spaces.refuse_other(spaces)
        noise = NoiseStreams(seed + _STREAM, count, agent.noise_size)
        aligner = Aligner(count, spaces, source.terminal_on_timeout)
        collector = VectorCollector(vector, agent, records, aligner, noise, deterministic)
        while any(len(done) < wanted for done, wanted in zip(played, quota, strict=True)):
            for episode in collector.step():
                played[episode.env].append(episode)
            done, steps = sum(map(min, map(len, played), quota)), steps + 1
            tell("steps of every env", steps, 0)
            tell("episodes", done, episodes)
        tell("steps of every env", steps, steps)
    finally:
        vector.close()
    counted = [e for done, n in zip(played, quota, strict=True) for e in done[:n]]
    told = [episode.success for episode in counted if episode.success is not None]
    return EvalReport(
        returns=[float(episode.ret) for episode in counted],
        lengths=[int(episode.length) for episode in counted],
        seed=seed,
        deterministic=deterministic,
        successes=told if len(told) == len(counted) else None,
    )


def evaluate_run(
    run_dir: str | Path,
    episodes: int = 20,
    which: str = "latest",
    seed: int = 0,
    deterministic: bool | None = None,
    num_envs: int | None = None,
    device: str = "auto",
) -> EvalReport:
    """Evaluate a checkpoint of a run on the run's env.

    Args:
        run_dir: run folder, or one checkpoint in it.
        episodes: how many.
        which: `"latest"`, `"best"` or the step of a checkpoint, when `run_dir` is not one.
        seed: of envs and noise. deterministic: modes or samples; by default what the authors of the
            agent did (`behavior.eval_mode`).
        num_envs: side by side; as many as the run had by default.
        device: where the agent runs.

    Raises:
        UsageError: when the run or the checkpoint does not exist, or the env has other spaces.
        CheckpointError: when it is damaged.
    """
    chosen = choose(run_dir, which)
    agent, _ = load_agent(chosen.cfg, chosen.path, device)
    if deterministic is None:
        deterministic = chosen.cfg.behavior.eval_mode
    source = source_of(chosen.cfg)
    report = evaluate(agent, source, episodes, seed, deterministic, num_envs)
    return replace(report, **chosen.facts)


@dataclass(frozen=True)
class Chosen:
    """A checkpoint to evaluate.

    Args:
        run: its run folder. cfg: of the run. path: of the checkpoint.
    """

    run: Path
    cfg: Config
    path: Path

    @property
    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        with checkpoint.understood(self.path):
            step = checkpoint.meta(self.path)["step"]
        return {
            "run": str(self.run),
            "checkpoint": self.path.name,
            "step": step,
            "env": self.cfg.env.id,
        }


def choose(run_dir: str | Path, which: str = "latest") -> Chosen:
    """The checkpoint that is meant; arguments and errors as of `evaluate_run`."""
    run = find_run(run_dir)
    if run is None:
        raise UsageError(f"{run_dir} is not a run folder: it has no config.yaml.")
    folder, given = RunFolder(run), Path(run_dir)
    path = given if checkpoint.is_checkpoint(given) else find_checkpoint(folder, which)
    return Chosen(run, load_config(folder.config_path), path)


def find_checkpoint(folder: RunFolder, which: str | int = "latest") -> Path:
    """The checkpoint of a run by name.

    Args:
        which: `"latest"` (the newest that is whole), `"best"`, or a step. A run that was shared
            holds one alone, which is both, and the best one of a run without a log is its newest.

    Raises:
        CheckpointError: when there is none; names those that are there.
    """
    known, which = [str(step) for step, _ in checkpoint.steps(folder.checkpoints)], str(which)
    if which == "best":
        path = checkpoint.best(folder.checkpoints)
    elif which == "latest":
        path = checkpoint.newest(folder.checkpoints, names=PARTS)
    elif which in known:
        path = dict(checkpoint.steps(folder.checkpoints))[int(which)]
    else:
        raise CheckpointError(nearest(which, ["best", "latest", *known], "checkpoint"))
    if path is None and (folder.is_shared() or (which == "best" and not folder.has_log())):
        path = checkpoint.newest(folder.checkpoints, names=PARTS)
    if path is None and which == "best" and known:
        why = "no episode ended in it; use --which latest"
        raise CheckpointError(f"{folder.path} has no best checkpoint: {why}.")
    if path is None:
        whole = "; --which best takes the best one" if checkpoint.best(folder.checkpoints) else ""
        raise CheckpointError(f"{folder.path} has no whole checkpoint{whole or ' yet'}.")
    return path


def load_agent(cfg: Config, path: Path, device: str = "auto") -> tuple[Agent, NativeForm]:
    """The agent of a checkpoint and the spaces it acts in; needs no env."""
    parts = checkpoint.read(path, PARTS)
    with checkpoint.understood(path):
        native = NativeForm.from_dict(parts["spaces"])
    agent = build_agent(cfg, native.spaces, choose_device(device))
    with checkpoint.understood(path):
        agent.load_training_state(parts["agent"])
    return agent, native
