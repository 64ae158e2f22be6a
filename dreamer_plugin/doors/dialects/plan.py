"""Numbers of ours that follow from several of a document's, or from its unit of time.

A document may count steps of the simulator, of which one of the agent's has as many as it repeats
an action, and say how many updates follow how many steps, where ours is a ratio of replayed steps.

    5,000,000 simulator steps, repeated twice              run.steps 2,500,000
    100 updates of 50 x 50 after 1,000 simulator steps     run.train_ratio 100 * 2500 / 500
    5,000 simulator steps before the first update          run.prefill 2,250 pieces of episodes

The two halves of a balanced KL, where dyn trains the prior and rep the posterior:

    plain       dyn = rep = scale
    prior       dyn = scale * balance          rep = scale * (1 - balance)
    posterior   dyn = scale * (1 - balance)    rep = scale * balance

DreamerV2's own code (prior_or_plain) is `prior`, but at a balance of 0.5 it stops no gradient and
floors each step: one divergence of weight `scale`, or the reversed one:

    KL[q, p]    world.kl plain             dyn = scale
    KL[p, q]    world.kl forward_reverse   dyn = 0         rep = scale

Where DreamerV1 learns when episodes end, it dreams from no last step of a row, which may be an end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dreamer_plugin.config import Config
from dreamer_plugin.doors.dialects.forms import number, whole
from dreamer_plugin.errors import UsageError, choose

STEPS = {
    "total_steps": "run.steps",
    "eval_every": "run.eval_every",
    "log_every": "run.log_every",
    "save_every": "run.save_every",
}
EPISODE = 1000  # simulator steps, where episodes are drawn from: those of the control suite
DIGITS = 12


def derive(
    numbers: Mapping[str, Any], unit: str, kl: str, cfg: Config, repeat: int
) -> dict[str, Any]:
    """Settings of ours.

    Args:
        numbers: of the plan, by the words of the files in `names/`.
        unit: `"simulator"` or `"agent"`, of the steps among them.
        kl: `"plain"`, `"prior"`, `"posterior"` or `"prior_or_plain"`, see above.
        cfg: everything else, for batches and envs. repeat: simulator steps per agent step.

    Raises:
        UsageError: when a number lacks the other that it needs, or cannot be had.
    """
    per = choose({"simulator": repeat, "agent": 1}, unit, "unit")
    said = {word: key for word, key in STEPS.items() if word in numbers}
    steps = {key: _agent_steps(numbers, word, per) for word, key in said.items()}
    return {
        **steps,
        **_prefill(numbers, cfg, per, repeat),
        **_updates(numbers, cfg, per),
        **_kl(numbers, kl, cfg),
        **({"behavior.imag_skip": int(numbers["cont"] != "none")} if "cont" in numbers else {}),
    }


def _agent_steps(numbers: Mapping[str, Any], word: str, per: int) -> int:
    """0, which is never, stays 0."""
    return math.ceil(number(numbers[word], word) / per)


def _prefill(numbers: Mapping[str, Any], cfg: Config, per: int, repeat: int) -> dict[str, Any]:
    """Windows, or pieces of episodes, that so many steps give."""
    if "prefill" not in numbers:
        return {}
    steps, length = _agent_steps(numbers, "prefill", per), cfg.replay.batch_length
    if cfg.replay.sampling == "windows":
        lost = cfg.env.num_envs * (length + cfg.replay.context - 1)
    else:
        lost = length * (steps * repeat // EPISODE)
    return {"run.prefill": max(1, steps - lost)}


def _updates(numbers: Mapping[str, Any], cfg: Config, per: int) -> dict[str, Any]:
    """`train_steps` updates after every `train_every` steps, made together."""
    updates = whole(numbers.get("train_steps", 1), "train_steps")
    behavior = whole(numbers.get("behavior_steps", updates), "behavior_steps")
    if behavior != updates:
        raise UsageError(
            f"{behavior} updates of actor and critic beside {updates} of the model: here an "
            "update trains both, so the two counts must be the same"
        )
    if "train_every" not in numbers:
        if "train_steps" in numbers:
            raise UsageError(
                f"{updates} updates after how many steps? Say the steps between them too"
            )
        return {}
    every = number(numbers["train_every"], "train_every")
    if every <= 0:
        raise UsageError(f"an update after every {every} steps: it must be at least 1")
    if updates < 0:
        raise UsageError(f"{updates} updates: there must be at least 0")
    replayed = updates * cfg.replay.batch_size * cfg.replay.batch_length
    return {"run.train_ratio": replayed * per / every, "run.burst": max(1, updates)}


def _kl(numbers: Mapping[str, Any], kl: str, cfg: Config) -> dict[str, Any]:
    scale, balance = numbers.get("kl_scale"), numbers.get("kl_balance")
    if scale is None and balance is None:
        return {}
    if kl == "plain" and scale is not None:
        return dict.fromkeys(("loss_scales.dyn", "loss_scales.rep"), number(scale, "kl_scale"))
    if scale is None and kl == "prior_or_plain":  # both halves together, as the suite has them
        scale = cfg.loss_scales.dyn + cfg.loss_scales.rep
    if scale is None or balance is None:
        raise UsageError("the weight of a balanced KL and its balance: say both")
    scale, balance = number(scale, "kl_scale"), number(balance, "kl_balance")
    if not 0 <= balance <= 1:
        raise UsageError(f"a KL balance of {balance}: it must lie between 0 and 1")
    forward = numbers.get("kl_forward", False)
    if kl == "prior_or_plain" and balance == 0.5:
        weights = {"loss_scales.dyn": 0.0 if forward else scale, "loss_scales.rep": scale}
        form = "forward_reverse" if forward else "plain"
        return {**weights, "world.kl": form, "world.free_over": "each"}
    if forward:
        raise UsageError(
            f"kl.forward=true at kl.balance={balance}: the reversed divergence is here without "
            "stopped gradients only, which is kl.balance=0.5"
        )
    shares = dict.fromkeys(("prior", "prior_or_plain"), (balance, 1 - balance))
    shares["posterior"] = (1 - balance, balance)
    dyn, rep = (round(scale * share, DIGITS) for share in choose(shares, kl, "kl"))
    return {"loss_scales.dyn": dyn, "loss_scales.rep": rep}
