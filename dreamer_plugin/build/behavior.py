"""Actor, critic and what their losses need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.behavior.actor_critic import ActorCritic, ReturnSettings
from dreamer_plugin.behavior.normalize import Identity, MeanStd, Normalizer, Percentile
from dreamer_plugin.build.heads import discount_of, make_head, make_style
from dreamer_plugin.config.schema import (
    ActorConfig,
    Config,
    NormConfig,
)
from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.nets.twin import SlowCopy
from dreamer_plugin.ops.returns import Arranger, Arrival, Departure
from dreamer_plugin.ops.scaling import symlog
from dreamer_plugin.spaces import ActionKey, Spaces


def build_behavior(cfg: Config, spaces: Spaces, feat: int) -> ActorCritic:
    """Actor, critic, its slow copy and the normalisers."""
    behavior = cfg.behavior
    actor, critic = behavior.actor, behavior.critic
    discount = discount_of(cfg)
    learned = behavior.cont_discount and cfg.world.cont.output != "none"
    value = make_head(cfg, critic, feat, "behavior.critic")
    return ActorCritic(
        Actor(
            MLP(feat, actor.layers, cfg.model.units, make_style(cfg)),
            spaces.actions,
            actor.outscale,
            actor.unimix,
            actor.min_std,
            actor.max_std,
            actor.output,
            actor.init_std,
            actor.tanh_mode,
        ),
        value,
        SlowCopy(value, critic.slow_rate, critic.slow_every),
        _normalizer(behavior.return_norm, "behavior.return_norm"),
        _normalizer(behavior.value_norm, "behavior.value_norm"),
        _normalizer(behavior.advantage_norm, "behavior.advantage_norm"),
        ReturnSettings(
            discount=discount,
            dream_discount=1.0 if learned else discount,
            lambda_=behavior.return_lambda,
            entropy=actor.entropy,
            slow_reg=critic.slow_reg,
            slow_target=critic.slow_target,
            replay_grad=critic.replay_grad,
            dynamics=_dynamics_share(actor, spaces.actions),
            dynamics_baseline=actor.dynamics_baseline,
            world_grad=behavior.world_grad,
            value_gradient=actor.value_gradient,
            transform=choose(
                _TRANSFORMS, actor.return_transform, "behavior.actor.return_transform"
            ),
            weigh=_weigh(behavior.weights, discount if learned else 1.0),
            arrange=choose(_ARRANGERS, behavior.returns, "behavior.returns"),
        ),
    )


_ARRANGERS: dict[str, Arranger] = {
    "arrival": Arrival(),
    "departure": Departure(),
    "departure_after_start": Departure(first=1),
}


_TRANSFORMS: dict[str, Callable[[Tensor], Tensor] | None] = {"identity": None, "symlog": symlog}


def _weigh(word: str, learned: float) -> Callable[[Tensor], Tensor] | None:
    """What weights are made of; `learned` is the discount within predicted continuations."""
    makers: dict[str, Callable[[Tensor], Tensor] | None] = {
        "discounted": None,
        "cont": lambda cont: (cont / learned).clamp(max=1),
        "none": torch.ones_like,
    }
    return choose(makers, word, "behavior.weights")


def _dynamics_share(actor: ActorConfig, keys: Sequence[ActionKey]) -> float:
    """How much of the actor's objective goes through the dream, by the word for its gradient."""
    continuous = all(key.kind == "continuous" for key in keys)
    shares = {"reinforce": 0.0, "dynamics": 1.0, "mixed": actor.mix, "auto": float(continuous)}
    return choose(shares, actor.gradient, "behavior.actor.gradient")


def _normalizer(part: NormConfig, section: str) -> Normalizer:
    if part.kind == "percentile" and part.low >= part.high:
        raise UsageError(
            f"{section}.low is {part.low:g}, but must be below {section}.high, {part.high:g}"
        )
    if part.kind != "none" and part.debias and not part.rate:
        raise UsageError(
            f"{section}.rate is 0, so that there is no weight for {section}.debias to divide by: "
            "set a rate above 0, such as 0.01, or debias=false"
        )
    makers: dict[str, Callable[[], Normalizer]] = {
        "none": Identity,
        "percentile": lambda: Percentile(part.rate, part.low, part.high, part.limit, part.debias),
        "meanstd": lambda: MeanStd(part.rate, part.limit, part.debias),
    }
    return choose(makers, part.kind, "normaliser kind")()
