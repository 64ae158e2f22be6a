"""Dreaming: roll the prior forward under the actor.

step    0     1     …    H
state   s0    s1         sH       s0 is a replayed posterior state
action  a0    a1         aH       a(t) ~ actor(s(t)); aH is drawn but leads nowhere
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.nets.layers import working_dtype
from dreamer_plugin.nets.twin import frozen, rounded_once
from dreamer_plugin.world.rssm import RSSM

Step: TypeAlias = Callable[
    [RSSM, Actor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]
]


@dataclass(frozen=True)
class Dreams:
    """Which dreams an update dreams.

    Args:
        horizon: H, steps of a dream.
        last: start only from the last so many replayed steps, 0 is from all.
        skip: do not start from the last so many.
        prior: start from draws of the prior at replayed steps, not of the posterior.
        true_start: weigh dreams by what replay knows of their start, not by what is predicted.
    """

    horizon: int = 15
    last: int = 0
    skip: int = 0
    prior: bool = False
    true_start: bool = False

    def starts(self, steps: int) -> slice:
        """Which of T replayed steps dreams start from."""
        stop = max(steps - self.skip, 0)
        return slice(max(stop - self.last, 0) if self.last else 0, stop)


def dream_step(
    rssm: RSSM, actor: Actor, deter: Tensor, stoch: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Decide, then move on.

    Args:
        deter, stoch: `[N, D]`, `[N, *latent]`. noise: uniform `[N, latent noise + action noise]`.

    Returns:
        feat `[N, F]` and action `[N, A]` of this state; the next deter and stoch.
    """
    z_noise, action_noise = noise.split([rssm.noise_size, actor.noise_size], -1)
    feat = _feat(rssm, deter, stoch)
    action = actor(feat.detach()).sample(action_noise)
    z_noise = z_noise.unflatten(-1, rssm.latent.noise_shape)
    return feat, action, *rssm.imagine_step(deter, stoch, action, z_noise)


def _feat(rssm: RSSM, deter: Tensor, stoch: Tensor) -> Tensor:
    """Feat `[N, F]`; without a graph in the type that networks multiply it in.

    Five networks would each round all states of the dream to the same numbers.
    """
    feat = rssm.feat(deter, stoch)
    return feat if torch.is_grad_enabled() else feat.to(working_dtype(feat.device))


def imagine(
    rssm: RSSM,
    actor: Actor,
    deter: Tensor,
    stoch: Tensor,
    horizon: int,
    noise: Tensor,
    step: Step = dream_step,
    through: bool = False,
) -> TensorDict:
    """Dream `horizon` steps from each start.

    Policy-gradient losses need states and actions as data only, so by default nothing here is
    differentiated; the actor and the critic are evaluated again where their losses are made.

    Args:
        deter, stoch: start states `[N, D]`, `[N, *latent]`.
        horizon: H.
        noise: uniform `[H + 1, N, latent noise + action noise]`.
        step: `dream_step`, or a compiled form of it.
        through: keep a graph, from the actor through each action to all later states. Decisions
            and, where they have a graph, the starts are gradients' only way back: the actor sees
            states as data, and the world's parameters are frozen.

    Returns:
        TensorDict `[N, H+1]` with feat `[F]`, without a graph rounded to autocast's type where
        there is one, and action `[A]`.
    """
    start = deter, stoch, horizon, noise, step
    if through:
        with frozen(rssm):
            return _roll(rssm, actor, *start)
    dream: TensorDict = rounded_once(_roll, [rssm, actor], working_dtype(noise.device), *start)
    return dream


def _roll(
    rssm: RSSM, actor: Actor, deter: Tensor, stoch: Tensor, horizon: int, noise: Tensor, step: Step
) -> TensorDict:
    feats, actions = [], []
    for t in range(horizon):
        feat, action, deter, stoch = step(rssm, actor, deter, stoch, noise[t])
        feats.append(feat)
        actions.append(action)
    feats.append(_feat(rssm, deter, stoch))
    actions.append(actor(feats[-1].detach()).sample(noise[horizon, :, rssm.noise_size :]))
    dream = {"feat": torch.stack(feats, 1), "action": torch.stack(actions, 1)}
    return TensorDict(dream, batch_size=dream["feat"].shape[:2])


def with_true_start(cont: Tensor, known: Tensor) -> Tensor:
    """Put what replay knows of the start states in the place of what was predicted there.

    Args:
        cont: `[N, H+1]` predicted. known: `[N]`, of the start; see `Arranger.start`.

    Returns:
        `[N, H+1]`.
    """
    return torch.cat([known.unsqueeze(1).to(cont.dtype), cont[:, 1:]], 1)
