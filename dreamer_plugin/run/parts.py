"""What a run is made of, built from its config in the order in which data flow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from dreamer_envs.vector import VectorEnv
from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.compiling import compile_agent, worth_compiling
from dreamer_plugin.config import Config
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.collect import Policy, VectorCollector
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.data.random_policy import NoisyPolicy, RandomFirst, halving
from dreamer_plugin.data.ratio import TrainRatio
from dreamer_plugin.data.replay import RecordReplay
from dreamer_plugin.graphs import GraphedUpdates
from dreamer_plugin.run.devices import choose_device
from dreamer_plugin.run.envs import EnvSource
from dreamer_plugin.run.native import NativeForm
from dreamer_plugin.run.replay import build_replay, latent_sizes, replay_needs, replay_text


@dataclass
class Parts:
    """The objects of one run.

    Args:
        source: makes the envs, also those for evaluation.
        vector: the envs that are trained on.
        native: spaces of the env as its user sees them.
        agent, replay, collector, ratio: what acts, remembers, steps and says how often to update.
        action_repeat: simulator frames per agent step.
        compiling: whether the agent's updates are compiled, in words.
    """

    source: EnvSource
    vector: VectorEnv
    native: NativeForm
    agent: Agent
    replay: RecordReplay
    collector: VectorCollector
    ratio: TrainRatio
    action_repeat: int
    compiling: str

    @property
    def device(self) -> torch.device:
        """Where the agent learns."""
        return self.agent.device


def build_parts(
    cfg: Config,
    source: EnvSource,
    agent: Agent | None = None,
    native: NativeForm | None = None,
    folder: Path | None = None,
) -> Parts:
    """Build everything a run needs.

    Args:
        cfg: of the run. source: of its envs.
        agent: one that exists already; a fresh one by default.
        native: spaces as the user sees them, where they are not those of `source`.
        folder: of the run, where a replay on disk lies; None where there is none.

    Raises:
        UsageError: when an env or the replay cannot be made, or `native` has other spaces.
    """
    repeat = source.action_repeat()
    vector = source.vector(cfg.seed)
    try:
        ours = NativeForm(vector.observation_space, vector.action_space)
        native = native or ours
        native.spaces.refuse_other(ours.spaces)
        agent = agent or build_agent(cfg, native.spaces, choose_device(cfg.device))
        compiles, compiling = worth_compiling(cfg.compile, agent.device, planned_updates(cfg))
        if compiles:
            compile_agent(agent)
        if cfg.compile == "graph":
            agent.updating = GraphedUpdates()
        sizes = latent_sizes(agent)
        replay = build_replay(cfg, native.spaces, vector.num_envs, **sizes, run=folder)
        aligner = Aligner(vector.num_envs, native.spaces, source.terminal_on_timeout)
        run = cfg.run
        ratio = TrainRatio(run.train_ratio, _batch_steps(cfg), run.burst, run.pretrain)
        policy: Policy = agent
        explore = cfg.behavior.explore
        if explore.amount or explore.min:
            schedule = partial(halving, explore.amount, explore.decay, explore.min)
            policy = NoisyPolicy(policy, native.spaces.actions, lambda: schedule(replay.written))
        if run.random_prefill:
            policy = RandomFirst(policy, native.spaces.actions, lambda: ratio.started)
        noise = NoiseStreams(cfg.seed, vector.num_envs, policy.noise_size)
        collector = VectorCollector(vector, policy, replay, aligner, noise)
    except BaseException:
        vector.close()
        raise
    return Parts(source, vector, native, agent, replay, collector, ratio, repeat, compiling)


def planned_updates(cfg: Config) -> float:
    """Gradient steps that a whole run makes, about; none where it ends before the first one."""
    run, envs = cfg.run, cfg.env.num_envs
    learned_from = -(-run.steps // envs) * envs - before_updates(cfg)
    if learned_from < 0 or run.train_ratio == 0:
        return 0
    return 1 + run.pretrain + learned_from * run.train_ratio / _batch_steps(cfg)


def before_updates(cfg: Config) -> int:
    """Agent steps until updates may begin: of envs that do not fail, in episodes that do not end.

    Where episodes are drawn it takes longer: until enough of them ended.
    """
    envs, window = cfg.env.num_envs, cfg.replay.batch_length + cfg.replay.context
    return envs * (window - 1 + -(-max(cfg.run.prefill, 1) // envs))


def _batch_steps(cfg: Config) -> int:
    return cfg.replay.batch_size * cfg.replay.batch_length


def facts(cfg: Config, parts: Parts) -> dict[str, str]:
    """What to tell before a run: env, spaces, device, precision, parameters and memory."""
    agent, vector, spaces = parts.agent, parts.vector, parts.native.spaces
    counts = {name: _parameters(part) for name, part in components(agent).items()}
    listing = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    need = replay_needs(cfg, spaces, vector.num_envs, **latent_sizes(agent))
    return {
        "env": f"{cfg.env.id} x {vector.num_envs}, action repeat {parts.action_repeat}",
        "observations": spaces.observed(),
        "actions": spaces.acted(),
        "agent": f"{cfg.agent}, size {cfg.size}, seed {cfg.seed}",
        "device": f"{parts.device}, {str(agent.precision).removeprefix('torch.')}",
        "compile": parts.compiling,
        "parameters": f"{sum(counts.values()):,} ({listing})",
        "replay": replay_text(cfg, need),
    }


def components(agent: Agent) -> dict[str, torch.nn.Module]:
    """Trained components by the name people know them by."""
    world, behavior = agent.world, agent.behavior
    return {**dict(world.named_children()), "actor": behavior.actor, "critic": behavior.critic}


def _parameters(module: torch.nn.Module) -> int:
    return sum(param.numel() for param in module.parameters() if param.requires_grad)
