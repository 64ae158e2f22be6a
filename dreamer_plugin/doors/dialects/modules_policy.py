"""The documents' actor and critic, around `behavior`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dreamer_plugin.behavior import actor_critic
from dreamer_plugin.behavior.actor import ActionDistribution, Actor
from dreamer_plugin.build import build_behavior
from dreamer_plugin.doors.dialects.modules_predictions import (
    dense_style,
    in_units,
    known_size,
    squashed,
)
from dreamer_plugin.doors.dialects.modules_states import FeatureLike, features_of
from dreamer_plugin.doors.dialects.modules_words import (
    ACTION,
    action_key,
    read_call,
    simple_spaces,
)
from dreamer_plugin.nets.heads import Head
from dreamer_plugin.nets.layers import MLP


class ActionDist:
    """A policy's distribution over encoded actions `[..., A]`, with PyTorch's vocabulary.

    Samples come from torch's global generator, or from uniform `noise` `[..., noise_size]`.
    """

    def __init__(self, part: ActionDistribution, like: Tensor, noise_size: int) -> None:
        self.part = part
        self._like, self._noise_size = like, noise_size

    def rsample(self, noise: Tensor | None = None) -> Tensor:
        """A draw with gradients: reparameterised, or straight through a choice."""
        if noise is None:
            batch = self._like.shape[:-1]
            noise = torch.rand(*batch, self._noise_size, device=self._like.device)
        return self.part.sample(noise)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """The same draw without gradients."""
        return self.rsample(noise).detach()

    @property
    def mode(self) -> Tensor:
        """The likeliest action, to evaluate with."""
        return self.part.mode()

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability `[...]`."""
        return self.part.logp(action)

    def entropy(self) -> Tensor:
        """Nats, `[...]`."""
        return self.part.entropy()


class _Policy(nn.Module):
    """Holds an actor."""

    def __init__(self, part: Actor) -> None:
        super().__init__()
        self.part = part

    def distribution(self, features: FeatureLike) -> ActionDist:
        """Of actions at features or states in any form of `modules_states`."""
        given = features_of(features)
        return ActionDist(self.part(given), given, self.part.noise_size)


class ActionDecoder(_Policy):
    """Policy: tanh-squashed normals for continuous actions, a categorical for discrete ones.

    Args:
        action_size: A, numbers or choices. stoch_size, deter_size, num_categories: as of
            `DenseDecoder`. n_layers, units, activation: of the MLP.
        min_std, init_std: of the normals before squashing. discrete: one choice among A.
    """

    def __init__(
        self,
        action_size: int,
        stoch_size: int,
        deter_size: int,
        n_layers: int = 4,
        units: int = 400,
        activation: str = "elu",
        min_std: float = 1e-4,
        init_std: float = 5.0,
        discrete: bool = False,
        num_categories: int = 1,
    ) -> None:
        features = deter_size + stoch_size * num_categories
        actor = Actor(
            MLP(features, n_layers, units, dense_style(activation)),
            [action_key(action_size, discrete)],
            outscale=1.0,
            min_std=min_std,
            output="tanh_normal",
            init_std=init_std,
        )
        super().__init__(actor)

    def forward(self, features: FeatureLike) -> ActionDist:
        """The distribution of actions."""
        return self.distribution(features)


class SampledPolicy(_Policy):
    """Policy that returns a draw, with its gradient."""

    def forward(self, features: FeatureLike) -> Tensor:
        """`[..., A]`."""
        return self.distribution(features).rsample()


class ValuePredictor(nn.Module):
    """Value of states, `[..., 1]`.

    Args:
        part: the head. raw: in the units of rewards, for returns; else in symlog space, where the
            documents' critic learns.
    """

    def __init__(self, part: Head, raw: bool) -> None:
        super().__init__()
        self.part, self.raw = part, raw

    def forward(self, features: FeatureLike) -> Tensor:
        """Features or states in any form of `modules_states`."""
        output = self.part(features_of(features))
        return (in_units(output) if self.raw else squashed(output)).unsqueeze(-1)


class ActorCritic(nn.Module):
    """Policy, critic and the slow copy of it.

    Args:
        feature_dim: F. discrete: one choice among `action_dim` actions.
        dialect, parts, words: as of `RSSM`; `behavior` describes the heads.
        part: a `behavior.actor_critic.ActorCritic` to use instead of new ones.

    Attributes:
        actor: states to sampled actions. critic: to values in symlog space.
        target_critic: the slow copy; its values are in the units of rewards. It follows by
            `ema_update(critic, target_critic, decay)`.
    """

    def __init__(
        self,
        feature_dim: int = 0,
        *,
        discrete: bool = False,
        dialect: str = "",
        parts: Mapping[str, Any] | None = None,
        part: actor_critic.ActorCritic | None = None,
        **words: Any,
    ) -> None:
        super().__init__()
        if part is None:
            call = read_call(dialect, words, parts)
            action = call.size(ACTION, "action_dim= (or action_size=)")
            spaces = simple_spaces(None, action, discrete)
            part = build_behavior(call.config, spaces, known_size(feature_dim))
        slow = part.slow.copy
        assert isinstance(slow, Head)  # it is a copy of the critic
        self.actor = SampledPolicy(part.actor)
        self.critic = ValuePredictor(part.critic, raw=False)
        self.target_critic = ValuePredictor(slow, raw=True)

    def get_action_distribution(self, features: FeatureLike) -> ActionDist:
        """Of actions at features or states."""
        return self.actor.distribution(features)

    def get_target_value(self, features: FeatureLike) -> Tensor:
        """Values `[...]` by the slow copy, in the units of rewards."""
        value: Tensor = self.target_critic(features)
        return value.squeeze(-1)
