"""An evaluation in full: returns of one or both ways of acting, and how good the world model is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.evaluate import EvalReport, choose, evaluate
from dreamer_plugin.run.foresight import CONTEXT
from dreamer_plugin.study.quality import HORIZON, Quality, film, measure
from dreamer_plugin.study.recorded import play_recorded

FILM = 1000  # frames of an episode to look at, at most


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Args:
        report: of the returns. other: of those with the other way of acting, where it was played.
        quality: of the world model, where an episode was long enough.
        episode: records `[T]` of the first one, where it was kept.
        foreseen: `quality.film` of one of the episodes.
    """

    report: EvalReport
    other: EvalReport | None = None
    quality: Quality | None = None
    episode: TensorDict | None = None
    foreseen: dict[str, Tensor] = field(default_factory=dict)

    @property
    def reports(self) -> list[EvalReport]:
        """One or two."""
        return [self.report] if self.other is None else [self.report, self.other]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data; with `other` and `quality` where they were asked for."""
        more: dict[str, Any] = {}
        if self.other is not None:
            more["other"] = self.other.to_dict()
        if self.quality is not None:
            more["quality"] = self.quality.to_dict()
        return self.report.to_dict() | more


def evaluate_fully(
    run: str | Path,
    episodes: int = 20,
    which: str = "best",
    seed: int = 0,
    deterministic: bool | None = None,
    both: bool = False,
    device: str = "auto",
    quality: bool = True,
    context: int = CONTEXT,
    horizon: int = HORIZON,
) -> Evaluation:
    """Play episodes with a checkpoint and look at what its world model makes of them.

    Args:
        run, episodes, which, seed, deterministic, device: as of `run.evaluate.evaluate_run`.
        both: play once more, from the same seed, with modes instead of samples or the reverse.
        quality: measure the world model, on the first frames of the episodes.
        context, horizon: of its open loops.

    Raises:
        UsageError: when the run or the checkpoint does not exist.
        CheckpointError: when it is damaged.
    """
    chosen = choose(run, which)
    first = play_recorded(chosen, episodes, seed, device, deterministic, FILM)
    agent, played = first.agent, first.episodes
    other = None
    if both:
        source, modes = source_of(chosen.cfg), first.report.deterministic
        other = replace(evaluate(agent, source, episodes, seed, not modes), **chosen.facts)
    found = Evaluation(first.report, other, episode=first.filmed)
    if not quality or max(map(len, played)) < context:
        return found
    return replace(
        found,
        quality=measure(agent.world, played, context, horizon, seed=seed),
        foreseen=film(agent.world, played, context, horizon, seed),
    )
