"""One optimiser over all that is trained."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from dreamer_plugin.behavior.actor_critic import ActorCritic
from dreamer_plugin.config.schema import (
    OptimConfig,
)
from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.optim import Adam, GroupedOptimizer, LaProp, Turns
from dreamer_plugin.world.model import WorldModel


def build_optimizer(
    part: OptimConfig, world: WorldModel, behavior: ActorCritic
) -> GroupedOptimizer:
    """One optimiser over all trained parameters, in one group or one for each of the three."""
    kind = choose({"laprop": LaProp, "adam": Adam}, part.kind, "optim.kind")
    decays = {"kernels": _decay_kernels, "all": _decay_all}
    decayed = choose(decays, part.decay, "optim.decay")
    joint = choose({"joint": True, "separate": False}, part.groups, "optim.groups")
    trained = {"model": list(world.parameters())}
    trained |= {name: list(getattr(behavior, name).parameters()) for name in ("actor", "critic")}
    own: dict[str, dict[str, float]] = {
        name: asdict(getattr(part, name)) for name in ("actor", "critic")
    }
    turns = _turns(part)
    if part.agc and part.agc_min <= 0:
        raise UsageError(
            f"optim.agc_min is {part.agc_min:g}, but weights that are all zero could then never "
            "change: set it above 0, such as 0.001, or optim.agc=0"
        )
    if part.schedule != "constant" and part.anneal <= part.warmup:
        raise UsageError(
            f"optim.schedule={part.schedule} needs optim.anneal, the update at which the rate is "
            f"at its end: more than optim.warmup={part.warmup}, got {part.anneal}"
        )
    if joint:
        own = {}
        together = trained if turns == Turns() else {n: trained[n] for n in ("actor", "critic")}
        name = "all" if turns == Turns() else "behavior"
        trained = {n: params for n, params in trained.items() if n not in together}
        trained[name] = [p for params in together.values() for p in params]
    groups = [
        {**group, **own.get(name, {}), "name": name}
        for name, params in trained.items()
        for group in decayed(params, part.weight_decay)
    ]
    apart = {"kind", "groups", "actor", "critic", "weight_decay", "decay"}
    apart |= {"model_turns", "behavior_turns"}
    shared = {name: value for name, value in vars(part).items() if name not in apart}
    return kind(groups, **shared, decay_by_rate=part.decay == "kernels", turns=turns)


def _turns(part: OptimConfig) -> Turns:
    """Who learns when, by counts that are both at least 1 or both 0."""
    model, behavior = part.model_turns, part.behavior_turns
    if min(model, behavior) < 0 or (model == 0) != (behavior == 0):
        given = f"optim.model_turns is {model} and optim.behavior_turns {behavior}"
        raise UsageError(f"{given}: both must be at least 1, or both 0 to learn together")
    return Turns(model, behavior)


def _decay_all(params: list[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    return [{"params": params, "weight_decay": weight_decay}]


def _decay_kernels(params: list[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and filters, never biases and norm scales, which have one axis."""
    kernels = [p for p in params if p.ndim > 1]
    rest = [p for p in params if p.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
