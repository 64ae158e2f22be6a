"""Episodes that a checkpoint plays, kept for a look at what its world model makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tensordict import TensorDict

from dreamer_plugin.agent import Agent
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.evaluate import Chosen, EvalReport, evaluate, load_agent
from dreamer_plugin.run.recording import Recorder

RECORDS = 2048  # frames that are looked at, of all episodes


@dataclass(frozen=True)
class Recorded:
    """What was played.

    Args:
        agent: that played. report: of the returns.
        episodes: records `[T]` of each, from the same number of frames of every env.
        filmed: records of the first one, `film` of them where it is so long.
    """

    agent: Agent
    report: EvalReport
    episodes: list[TensorDict]
    filmed: TensorDict


def play_recorded(
    chosen: Chosen,
    episodes: int,
    seed: int,
    device: str,
    deterministic: bool | None = None,
    film: int = 0,
) -> Recorded:
    """Play episodes with a checkpoint and keep their first frames.

    Args:
        chosen: the checkpoint. episodes: how many. seed: of envs and noise. device: of the agent.
        deterministic: as of `run.evaluate.evaluate_run`.
        film: frames to keep of the first episode at least, to look at.
    """
    agent, _ = load_agent(chosen.cfg, chosen.path, device)
    modes = chosen.cfg.behavior.eval_mode if deterministic is None else deterministic
    recorder = Recorder(RECORDS, film)
    source = source_of(chosen.cfg)
    report = evaluate(agent, source, episodes, seed, modes, records=recorder)
    report = replace(report, **chosen.facts)
    return Recorded(agent, report, recorder.episodes(), recorder.filmed()[:film])
