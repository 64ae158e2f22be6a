"""Examining a run: what it logged, and what its world model makes of episodes it never saw.

    logs      posterior collapse, dead actor, actor without choice, value drift, replay too small,
              env bottleneck                                                 `run/symptoms.py`
    episodes  reward-head error, imagination divergence, overfitting         here

Errors are set beside the variance of what is predicted, in the space it is learned in: 1 is as good
as always telling the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tensordict import TensorDict

from dreamer_plugin.config import Config
from dreamer_plugin.errors import CheckpointError
from dreamer_plugin.ops.distributions import DiscreteTarget
from dreamer_plugin.run.evaluate import choose
from dreamer_plugin.run.foresight import CONTEXT, filter_episode
from dreamer_plugin.run.symptoms import LEARNED, Alarm, Watch
from dreamer_plugin.study.quality import measure, reward_target, target_of
from dreamer_plugin.study.recorded import play_recorded
from dreamer_plugin.study.run_record import read_run
from dreamer_plugin.world.model import WorldModel

EXAMINED = 2000  # updates before which episodes prove nothing
AHEAD = 5  # frames that a prior must be able to see ahead

REWARD_UNEXPLAINED = 0.8  # error over variance
REWARD_SPREAD = 0.01  # of the mean square: rewards that vary by less are as good as constant
RECONSTRUCTS = 0.3  # below this the posterior knows what is seen
DREAMS_WRONG = 0.5  # above this, so few frames ahead, the prior does not
OVERFIT = 8.0  # times the loss in training
STILL_GOOD = 0.02  # error over variance up to which overfitting does not matter


@dataclass(frozen=True)
class Examination:
    """What was found.

    Args:
        run: its folder. alarms: what is wrong. evidence: numbers that were looked at, by name.
        notes: what could not be looked at, and why.
    """

    run: str
    alarms: list[Alarm]
    evidence: dict[str, float | None]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return asdict(self)


def examine(path: str, episodes: int = 3, seed: int = 0, device: str = "auto") -> Examination:
    """Examine a run.

    Args:
        path: of its folder.
        episodes: to play with the newest checkpoint; 0 looks at the logs alone.
        seed: of them. device: of the agent.

    Raises:
        UsageError: when there is no run, or it has logged nothing.
    """
    run = read_run(path)
    watch = Watch(run.cfg)
    for row in run.rows:
        watch.add(row)
    evidence = _logged(watch)
    alarms, notes = watch.alarms(), []
    if not watch.logs:
        missing = "No update was made yet"
        if watch.updates:
            every = f"run.log_every is {run.cfg.run.log_every:,}"
            missing = f"No losses were logged yet ({every} steps)"
        notes.append(f"{missing}, so there is little to say.")
    elif not watch.judges:
        notes.append(f"Of learning nothing is said before {LEARNED} updates were logged.")
    if episodes:
        try:
            played = play_recorded(choose(run.path, "latest"), episodes, seed, device, False)
            evidence |= _of_episodes(played.agent.world, played.episodes, watch, seed)
            if _may_judge(watch):
                alarms += of_episodes(run.cfg, evidence)
            else:
                notes.append(f"Of episodes nothing is said before {EXAMINED:,} updates.")
        except CheckpointError as error:
            notes.append(f"No episode was played: {error}")
    return Examination(str(run.path), alarms, evidence, notes)


def judge(world: WorldModel, played: Sequence[TensorDict], watch: Watch) -> list[Alarm]:
    """Alarms of episodes that were played while a run goes on.

    Args:
        world: of the agent now. played: records `[T]` of each. watch: of the run.
    """
    if not _may_judge(watch):
        return []
    return of_episodes(watch.cfg, _logged(watch) | _of_episodes(world, played, watch, seed=0))


def _may_judge(watch: Watch) -> bool:
    return bool(watch.logs) and watch.logs[-1]["updates"] >= EXAMINED


def _of_episodes(
    world: WorldModel, played: Sequence[TensorDict], watch: Watch, seed: int
) -> dict[str, float | None]:
    return _ratios(world, played, seed) | _held_out(world, played, seed, watch)


def _logged(watch: Watch) -> dict[str, float | None]:
    first = watch.reconstruction(watch.first)
    left = watch.reconstruction(watch.logs[-1]) / first if first and watch.logs else None
    return {
        "updates": float(watch.updates),
        "kl": watch.recent("kl"),
        "reconstruction loss left": left,
        "entropy": watch.recent("entropy"),
        "value": watch.recent("value"),
    }


def _ratios(world: WorldModel, played: Sequence[TensorDict], seed: int) -> dict[str, float | None]:
    """Errors over variance: of each observation reconstructed and some frames ahead, of rewards."""
    if max(map(len, played)) < CONTEXT:
        return {}
    quality = measure(world, played, horizon=AHEAD, seed=seed)
    device = world.rssm.core.gates.weight.device
    records: TensorDict = torch.cat([each.to(device) for each in played])
    spreads = _spreads(world, records)
    found: dict[str, float | None] = {}
    for name, spread in spreads.items():
        curve = quality.open_loop.get(f"{name}/mse", [])
        if spread > 0 and curve:
            again = quality.reconstruction[f"{name}/mse"]
            found[f"{name}: reconstruction error"] = again / spread
            found[f"{name}: error {len(curve) - 1} ahead"] = curve[-1] / spread
    head = world.reward(world.rssm.feat(*world.rssm.initial(1)))
    earned = reward_target(world, head, records["reward"])
    square = float(earned.square().mean())
    size = max(float(earned.var(correction=0)), REWARD_SPREAD * square)
    if size > 0:
        found["reward error"] = quality.reconstruction["reward/mse"] / size
    return found


@torch.no_grad()
def _spreads(world: WorldModel, records: TensorDict) -> dict[str, float]:
    """Variance over the frames of what the decoder tells, a mean over its numbers."""
    deter, stoch = world.rssm.initial(1)
    outputs = world.decoder(deter, world.rssm.flat(stoch))
    return {
        name: float(target_of(output, records["obs", name]).var(0, correction=0).mean())
        for name, output in outputs.items()
        if not isinstance(output, DiscreteTarget)
    }


@torch.no_grad()
def _held_out(
    world: WorldModel, played: Sequence[TensorDict], seed: int, watch: Watch
) -> dict[str, float | None]:
    """The loss of reconstruction on new episodes, over that in training."""
    if not watch.logs:
        return {}
    trained = watch.reconstruction(watch.logs[-1])
    device = world.rssm.core.gates.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    sums, frames = 0.0, 0
    for episode in played:
        records = episode.to(device)
        states = filter_episode(world, records, generator)
        deter, stoch = states["deter"], world.rssm.flat(states["stoch"])
        for name, output in world.decoder(deter, stoch).items():
            sums += float(output.loss(records["obs", name]).sum())
        frames += len(records)
    if trained <= 0:  # a likelihood with its constant; ratios of those mean nothing
        return {}
    return {"held-out over training loss": sums / frames / trained}


def of_episodes(cfg: Config, evidence: Mapping[str, float | None]) -> list[Alarm]:
    """Alarms of what episodes showed, by the names that `examine` gives it."""
    found = [_reward(cfg, evidence), _dreams(cfg, evidence), _overfit(cfg, evidence)]
    return [alarm for alarm in found if alarm is not None]


def _reward(cfg: Config, evidence: Mapping[str, float | None]) -> Alarm | None:
    error = evidence.get("reward error")
    if error is None or error <= REWARD_UNEXPLAINED:
        return None
    return Alarm(
        "reward-head error",
        f"On new episodes its squared error is {error:.2f} of what the rewards vary by.",
        "Dreams pay other rewards than the env: the policy learns for nothing.",
        "train longer; where rewards are rare or hidden, raise loss_scales.reward "
        f"({cfg.loss_scales.reward:g}); look whether the rewards follow from what is seen.",
    )


def _dreams(cfg: Config, evidence: Mapping[str, float | None]) -> Alarm | None:
    for name, ahead in evidence.items():
        if " ahead" not in name or ahead is None:
            continue
        key = name.partition(": error")[0]
        again = evidence[f"{key}: reconstruction error"]
        if again is not None and again < RECONSTRUCTS and ahead > DREAMS_WRONG:
            return Alarm(
                "imagination divergence",
                f"{key} is reconstructed with {again:.2f} of its variance as error, but "
                f"{name.partition(': error ')[2]} in dreams with {ahead:.2f}; the KL is "
                f"{evidence['kl'] or 0:.3g} nats.",
                "The prior does not follow the posterior, or what comes next is chance.",
                f"raise loss_scales.dyn ({cfg.loss_scales.dyn:g}), train longer, or lower "
                f"behavior.imag_horizon ({cfg.behavior.imag_horizon}).",
            )
    return None


def _overfit(cfg: Config, evidence: Mapping[str, float | None]) -> Alarm | None:
    ratio = evidence.get("held-out over training loss")
    errors = [v for k, v in evidence.items() if "reconstruction error" in k and v is not None]
    if ratio is None or ratio <= OVERFIT or max(errors, default=0.0) <= STILL_GOOD:
        return None
    return Alarm(
        "overfitting of the world model",
        f"New episodes are reconstructed with {ratio:.1f} times the loss of training.",
        "The model learned its replay by heart: too many updates on too few frames.",
        f"lower run.train_ratio ({cfg.run.train_ratio:g}), enlarge replay.capacity "
        f"({cfg.replay.capacity:,}), or collect more (--steps, --num-envs).",
    )
