"""What networks put out, with one vocabulary: `pred loss sample mode logp entropy`.

All of them are plain objects around tensors. Computation is in float32 whatever the network's
precision. Samples are functions of uniform noise in [0, 1), drawn by the caller, so that a run is
a function of its noise (`noise_shape` says how much).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamer_plugin.ops.continuous import off_the_ends
from dreamer_plugin.ops.scaling import symexp, symlog


class Output(Protocol):
    """What a head of the world model or the critic returns."""

    def pred(self) -> Tensor:
        """Point prediction, in the units of the target."""

    def loss(self, target: Tensor) -> Tensor:
        """Negative log-likelihood (or squared error), event axes summed.

        A target may have further axes in front, for several targets of each prediction.
        """


def mix_uniform(logits: Tensor, unimix: float) -> Tensor:
    """Log-probabilities of `(1 - unimix) softmax(logits) + unimix / K` over the last axis.

    Source: DreamerV3 paper, "1% uniform"; `embodied/jax/outs.py`, Categorical.
    """
    if not unimix:
        return torch.log_softmax(logits.float(), -1)
    probs = torch.softmax(logits.float(), -1)
    return torch.log((1 - unimix) * probs + unimix / logits.shape[-1])


def categorical_index(probs: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-CDF draw: one uniform number per categorical.

    Args:
        probs: `[..., K]`, non-negative. uniform: `[...]` in [0, 1).

    Returns:
        `[...]` int64 class index.
    """
    cdf = torch.cumsum(probs, -1)
    # Scaling by the total keeps rounding of the sum from ever selecting class K.
    return (cdf[..., :-1] <= uniform.unsqueeze(-1) * cdf[..., -1:]).sum(-1)


def straight_through(onehot: Tensor, probs: Tensor) -> Tensor:
    """`onehot` forwards, the gradient of `probs` backwards."""
    return onehot + (probs - probs.detach()) if probs.requires_grad else onehot


def one_hot_through(index: Tensor, probs: Tensor) -> Tensor:
    """One-hot `[..., K]` of a class index `[...]`, with the gradient of `probs` `[..., K]`."""
    onehot = torch.zeros_like(probs).scatter_(-1, index.unsqueeze(-1), 1.0)
    return straight_through(onehot, probs)


def gumbel_one_hot(logprobs: Tensor, uniform: Tensor, tau: float) -> Tensor:
    """One-hot draw with the gradient of a softmax.

    Gumbel noise G decides for the class with the largest `logprobs + G`, which draws exactly from
    `softmax(logprobs)` whatever `tau`. Backwards stands `softmax((logprobs + G) / tau)`: the nearer
    tau is to zero, the nearer it is to the draw, and the larger its gradient's variance.

    Args:
        logprobs: `[..., K]`. uniform: `[..., K]` in [0, 1). tau: temperature.

    Returns:
        `[..., K]`.
    """
    perturbed = logprobs - torch.log(-torch.log(off_the_ends(uniform)))
    return one_hot_through(perturbed.argmax(-1), torch.softmax(perturbed / tau, -1))


class Categorical:
    """Independent categoricals over the last axis; values are one-hot vectors.

    Args:
        logits: `[..., K]` unnormalised. unimix: share of the uniform distribution mixed in.
    """

    def __init__(self, logits: Tensor, unimix: float = 0.0) -> None:
        self.logprobs = mix_uniform(logits, unimix)
        self.probs = self.logprobs.exp()

    @classmethod
    def normalised(cls, logprobs: Tensor) -> Categorical:
        """From log-probabilities that already sum to one, without normalising again."""
        self = cls.__new__(cls)
        self.logprobs, self.probs = logprobs, logprobs.exp()
        return self

    def sample(self, noise: Tensor) -> Tensor:
        """One-hot draw `[..., K]` from uniform noise `[...]`, straight-through gradient."""
        return one_hot_through(categorical_index(self.probs.detach(), noise), self.probs)

    def mode(self) -> Tensor:
        """Most likely class as one-hot `[..., K]`, straight-through gradient."""
        return one_hot_through(self.logprobs.argmax(-1), self.probs)

    def logp(self, onehot: Tensor) -> Tensor:
        """Log-probability `[...]` of one-hot values `[..., K]`."""
        return (onehot * self.logprobs).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats."""
        return -(self.probs * self.logprobs).sum(-1)


class DiscreteTarget:
    """Class prediction for integer observations: cross entropy, event axes summed.

    Args:
        logits: `[..., *shape, K]`. event_dims: number of axes in `shape`.
    """

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        self.logprobs = torch.log_softmax(logits.float(), -1)
        self.event_dims = event_dims

    def pred(self) -> Tensor:
        """Most likely class, `[..., *shape]`."""
        return self.logprobs.argmax(-1)

    def loss(self, target: Tensor) -> Tensor:
        """Cross entropy with class indices `[..., *shape]`, summed over `shape`."""
        picked = self.logprobs.gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
        return -_sum_event(picked, self.event_dims)


class Binary:
    """Bernoulli from a logit `[...]`; soft targets in [0, 1] are allowed."""

    def __init__(self, logit: Tensor) -> None:
        self.logit = logit.float()

    def pred(self) -> Tensor:
        """Probability of 1."""
        return torch.sigmoid(self.logit)

    def mode(self) -> Tensor:
        """1 where it is likelier than 0, else 0; no gradient."""
        return (self.logit > 0).to(self.logit.dtype)

    def loss(self, target: Tensor) -> Tensor:
        """Cross entropy with the target probability."""
        return -(target * F.logsigmoid(self.logit) + (1 - target) * F.logsigmoid(-self.logit))


class MSE:
    """Squared error, summed over the last `event_dims` axes, with an optional squash of the target.

    The prediction stays in squashed space, as in the official code.

    Args:
        mean: `[..., *event]`. event_dims: how many axes an event has.
        symlog_target: compare with `symlog(target)`.
    """

    def __init__(self, mean: Tensor, event_dims: int, symlog_target: bool = False) -> None:
        self.mean = mean.float()
        self.event_dims = event_dims
        self.symlog_target = symlog_target

    def pred(self) -> Tensor:
        """The mean, in squashed space where there is one."""
        return self.mean

    def loss(self, target: Tensor) -> Tensor:
        """Summed squared error `[...]`; no factor one half."""
        return _sum_event(self._miss(target) ** 2, self.event_dims)

    def _miss(self, target: Tensor) -> Tensor:
        target = symlog(target.float()) if self.symlog_target else target.float()
        return self.mean - target.detach()


class MAE(MSE):
    """The absolute error in its place; arguments as of `MSE`."""

    def loss(self, target: Tensor) -> Tensor:
        """Summed absolute error `[...]`."""
        return _sum_event(self._miss(target).abs(), self.event_dims)


class UnitNormal(MSE):
    """Normal of variance 1: half the squared error, without the constant; arguments as of `MSE`.

    Source: DreamerV1 and V2, which learn images, rewards and values so.
    """

    def loss(self, target: Tensor) -> Tensor:
        """Negative log-likelihood `[...]` less `log(2 pi) / 2` per number."""
        return 0.5 * super().loss(target)


class SymexpMSE:
    """Squared error of a scalar in squashed space; unlike `MSE` with symlog, predicts the scalar.

        loss   (sign(x) log(1 + s |x|) - mean)^2        pred   symexp(clip(mean)) / s

    With s = 1 these are symlog and its inverse.

    Args:
        mean: `[...]`, in squashed space. clip: bound of what is predicted there, before `symexp`.
        scale: s > 0, one number; its gradient comes from losses alone, never from predictions.
    """

    def __init__(self, mean: Tensor, clip: float = math.inf, scale: Tensor | None = None) -> None:
        self.mean, self.clip = mean.float(), clip
        self.scale = torch.ones_like(self.mean) if scale is None else scale

    def pred(self) -> Tensor:
        """The scalar `[...]`, in the units of the target."""
        return symexp(self.mean.clamp(-self.clip, self.clip)) / self.scale.detach()

    def loss(self, target: Tensor) -> Tensor:
        """Squared error `[...]`; no factor one half."""
        squashed: Tensor = symlog(self.scale * target.detach().float())
        return (self.mean - squashed) ** 2


def _sum_event(x: Tensor, event_dims: int) -> Tensor:
    return x.flatten(-event_dims).sum(-1) if event_dims else x
