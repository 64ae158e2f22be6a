"""What the numbers of a run tell of its health, while it runs and afterwards.

A `Watch` takes the rows of `metrics.jsonl` one by one and keeps a few numbers of them. Its alarms
need neither env nor checkpoint; those that do are in `study/doctor.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import fmean, median
from typing import Any

from dreamer_plugin.config import Config
from dreamer_plugin.config.schema import LossScales

_LOGS, _EPISODES = 3, 10  # recent ones that are looked at
LEARNED = 300  # before these, nothing is said of what should have been learned
_NOT_OBSERVED = {scale.name for scale in fields(LossScales)}

# Where an alarm begins. Healthy runs of CartPole, Pendulum and recall stay far from all of them.
KL_NONE = 0.01  # nats: the posterior says nothing that the prior does not
ENTROPY_STUCK = 0.002  # share of its first value that the entropy has moved by
ENTROPY_GONE = 0.05  # share of its first value that is left; a unimix of 0.01 keeps 0.03 of it
RETURN_LOST = 0.5  # share of the best return, above the worst
VALUE_OVER = 5.0  # times what the rewards of whole episodes would sum up to
ENV_SHARE = 0.6  # of the time that is spent in waiting for the envs
REPLAY_SHARE = 0.1  # of the planned steps


@dataclass(frozen=True)
class Alarm:
    """A symptom.

    Args:
        name: of it. evidence: numbers. cause: the likely one. fix: what to try.
    """

    name: str
    evidence: str
    cause: str
    fix: str

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence} {self.cause} Try: {self.fix}"


class Watch:
    """Alarms of a run from what it logs, in constant memory.

    Args:
        cfg: of the run.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.updates = 0
        self.first: Mapping[str, Any] = {}  # the first row with losses
        self.logs: deque[Mapping[str, Any]] = deque(maxlen=_LOGS)
        self.returns: deque[float] = deque(maxlen=_EPISODES)
        self.best, self.worst = float("-inf"), float("inf")  # mean return of ten episodes
        self.reward = 0.0  # largest mean reward of an episode, without its sign
        self.entropies = (float("inf"), float("-inf"))

    def add(self, row: Mapping[str, Any]) -> None:
        """Take the next row."""
        self.updates = row.get("updates", self.updates)
        if row.get("episode/return") is not None and row.get("episode/length"):
            self.returns.append(row["episode/return"])
            self.reward = max(self.reward, abs(row["episode/return"]) / row["episode/length"])
            if len(self.returns) == _EPISODES:
                mean = fmean(self.returns)
                self.best, self.worst = max(self.best, mean), min(self.worst, mean)
        if any(name.startswith("loss/") for name in row):
            self.first = self.first or row
            self.logs.append(row)
            if row.get("entropy") is not None:
                low, high = self.entropies
                self.entropies = min(low, row["entropy"]), max(high, row["entropy"])

    def alarms(self) -> list[Alarm]:
        """What is wrong now."""
        found = [self._replay(), self._env()]
        if self.judges:
            found += [self._collapse(), self._frozen(), self._dead(), self._drift()]
        return [alarm for alarm in found if alarm is not None]

    @property
    def judges(self) -> bool:
        """Whether enough was logged to say something of what should have been learned."""
        return len(self.logs) == _LOGS and self.logs[-1]["updates"] >= LEARNED

    def recent(self, name: str) -> float | None:
        """Median of a number over the last rows that logged losses."""
        values = [row[name] for row in self.logs if row.get(name) is not None]
        return median(values) if values else None

    def reconstruction(self, row: Mapping[str, Any]) -> float:
        """Sum of the losses of all observations in a row."""
        names = [name for name in row if name.startswith("loss/")]
        seen = [name for name in names if name.removeprefix("loss/") not in _NOT_OBSERVED]
        return sum(row[name] or 0.0 for name in seen)

    def _collapse(self) -> Alarm | None:
        kl, first = self.recent("kl"), self.reconstruction(self.first)
        left = self.reconstruction(self.logs[-1]) / first if first else 0.0
        if kl is None or kl >= KL_NONE:
            return None
        return Alarm(
            "posterior collapse",
            f"The KL is {kl:.3g} nats and {left:.0%} of the first reconstruction loss is left.",
            "The latents tell nothing of what is seen: the KL outweighs the reconstruction.",
            f"lower loss_scales.dyn ({_scale(self.cfg, 'dyn')}) and loss_scales.rep "
            f"({_scale(self.cfg, 'rep')}), or raise world.free_nats "
            f"({self.cfg.world.free_nats:g}).",
        )

    def _frozen(self) -> Alarm | None:
        low, high = self.entropies
        first = abs(self.first.get("entropy") or 0.0)
        if not first or high - low > ENTROPY_STUCK * first:
            return None
        return Alarm(
            "dead actor",
            f"After {self.logs[-1]['updates']:,} updates the entropy of the policy is still within "
            f"{high - low:.2g} of {high:.4g}.",
            "The actor does not learn: its gradient is nothing, or its rate is.",
            f"look at loss_scales.policy ({_scale(self.cfg, 'policy')}) and optim.lr "
            f"({self.cfg.optim.lr:g}); where rewards are rare, wait, or explore longer.",
        )

    def _dead(self) -> Alarm | None:
        now, first = self.recent("entropy"), self.first.get("entropy") or 0.0
        # That of a density passes zero on its way: a share of its first value says nothing.
        if now is None or first <= 0 or self.entropies[0] < 0:
            return None
        values = [row.get("entropy") for row in self.logs]
        if any(value is None or value > ENTROPY_GONE * first for value in values):
            return None
        if len(self.returns) < _EPISODES or self.best <= self.worst:
            return None
        left = (fmean(self.returns) - self.worst) / (self.best - self.worst)
        entropy = self.cfg.behavior.actor.entropy
        if left > RETURN_LOST:
            return None
        return Alarm(
            "actor without choice",
            f"The entropy fell from {first:.3g} to {now:.3g} while returns are down to "
            f"{fmean(self.returns):.4g} from {self.best:.4g}.",
            "The policy stopped exploring before it was good.",
            f"raise behavior.actor.entropy ({entropy:g}) "
            + ("tenfold." if entropy > 0 else "to 3e-4, or more."),
        )

    def _drift(self) -> Alarm | None:
        value, horizon = self.recent("value"), self.cfg.behavior.horizon
        if value is None or not self.reward or abs(value) <= VALUE_OVER * self.reward * horizon:
            return None
        return Alarm(
            "value drift",
            f"The critic says {value:.4g}, but episodes paid at most {self.reward:.3g} a step, "
            f"{self.reward * horizon:.4g} over the horizon of {horizon:,} steps.",
            "Values chase themselves, or rewards in dreams are not those of the env.",
            "look at reward and continuation (`dreamer-plugin evaluate`); lower optim.critic.lr "
            f"or behavior.return_lambda ({self.cfg.behavior.return_lambda:g}).",
        )

    def _replay(self) -> Alarm | None:
        capacity, steps = self.cfg.replay.capacity, self.cfg.run.steps
        if capacity >= REPLAY_SHARE * steps or not self.logs:
            return None
        return Alarm(
            "replay too small",
            f"It keeps {capacity:,} of {steps:,} steps, {capacity / steps:.1%}.",
            "What was learned of older situations is forgotten.",
            f"replay.capacity={int(REPLAY_SHARE * steps)} or more; replay.storage=disk where "
            "memory is short.",
        )

    def _env(self) -> Alarm | None:
        if len(self.logs) < _LOGS or any(row.get("waited") is None for row in self.logs):
            return None  # runs of older versions did not tell
        old, new = self.logs[0], self.logs[-1]
        seconds, waited = (new[name] - old[name] for name in ("seconds", "waited"))
        if seconds <= 0 or waited <= ENV_SHARE * seconds:
            return None
        return Alarm(
            "env bottleneck",
            f"{waited / seconds:.0%} of the time goes by in waiting for the env, "
            f"{1e3 * waited / (new['step'] - old['step']):.1f} ms a step.",
            "The learner waits for the simulator.",
            f"more envs side by side (--num-envs, now {self.cfg.env.num_envs}), or more updates a "
            f"step (run.train_ratio, now {self.cfg.run.train_ratio:g}).",
        )


def _scale(cfg: Config, name: str) -> str:
    return f"{getattr(cfg.loss_scales, name):g}"
