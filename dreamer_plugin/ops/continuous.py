"""Distributions of continuous actions and states, with the vocabulary of `ops.distributions`.

Each number is a dimension of its own: likelihoods and entropies come per dimension, in nats.
Computation is in float32, samples are functions of uniform noise in [0, 1). Those made from a
network's two outputs squash them:

                     mean               std                                       support
    UnboundedNormal  m                  softplus(r) + min                         everything
    BoundedNormal    tanh(m)            (max - min) sigmoid(r + 2) + min          everything
    TruncatedNormal  tanh(m)            2 sigmoid(r / 2) + min                    [-1, 1]
    TanhNormal       5 tanh(m / 5)      softplus(r + inverse of init) + min       [-1, 1], squashed
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

# torch.rand has steps of 2**-24: half a step, and the largest float32 below 1.
_LEAST, _MOST = 2.0**-25, 1 - 2.0**-24
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_INSIDE = 1 - 1e-6  # where samples of a truncated normal end
_INVERTIBLE = 0.99999997  # nearest to 1 that tanh is inverted at; float32 rounds it to 1 - 2**-24
_POINTS = 100


class Continuous(Protocol):
    """What a policy asks of a distribution over `[..., A]` numbers."""

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw `[..., A]` from uniform noise `[..., A]`."""

    def mode(self) -> Tensor:
        """Most likely value, `[..., A]`."""

    def logp(self, value: Tensor) -> Tensor:
        """Log-density per dimension, `[..., A]`."""

    def entropy(self) -> Tensor:
        """Entropy per dimension, `[..., A]`, in nats."""


def off_the_ends(uniform: Tensor) -> Tensor:
    """Uniform numbers as float32 in (0, 1), where quantiles and logarithms are finite."""
    return uniform.float().clamp(_LEAST, _MOST)


def normal_quantile(uniform: Tensor) -> Tensor:
    """Standard normal draws from uniform ones by the inverse distribution function."""
    return torch.special.ndtri(off_the_ends(uniform))


def softplus_std(raw: Tensor, min_std: float) -> Tensor:
    """`softplus(raw) + min_std`, float32."""
    return F.softplus(raw.float()) + min_std


def sigmoid2_std(raw: Tensor, min_std: float) -> Tensor:
    """`2 sigmoid(raw / 2) + min_std`, float32: bounded, and 1 + min_std with slope 1/2 at zero."""
    return 2 * torch.sigmoid(raw.float() / 2) + min_std


STDS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "softplus": softplus_std,
    "sigmoid2": sigmoid2_std,
}


class Normal:
    """Normal of given mean and standard deviation, both `[..., A]`."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw `[..., A]` from uniform noise `[..., A]`."""
        return self.mean + self.std * normal_quantile(noise)

    def mode(self) -> Tensor:
        """The mean, `[..., A]`."""
        return self.mean

    def logp(self, value: Tensor) -> Tensor:
        """Log-density per dimension, `[..., A]`, of the unclipped value."""
        z = (value - self.mean) / self.std
        return -0.5 * z**2 - torch.log(self.std) - _HALF_LOG_2PI

    def entropy(self) -> Tensor:
        """Entropy per dimension, `[..., A]`, in nats."""
        return torch.log(self.std) + (0.5 + _HALF_LOG_2PI)


class UnboundedNormal(Normal):
    """Normal with any mean; the env clips what goes beyond [-1, 1].

    Args:
        raw_mean, raw_std: `[..., A]`. min_std: least standard deviation.
    """

    def __init__(self, raw_mean: Tensor, raw_std: Tensor, min_std: float) -> None:
        super().__init__(raw_mean.float(), softplus_std(raw_std, min_std))


class BoundedNormal(Normal):
    """Normal with mean `tanh(raw_mean)` and std between two bounds; neither truncated nor squashed.

    `std = (max - min) sigmoid(raw_std + 2) + min`. Actions beyond [-1, 1] are clipped by the env,
    not here. Source: `embodied/jax/heads.py`, `bounded_normal`.

    Args:
        raw_mean, raw_std: `[..., A]`. min_std, max_std: bounds of the standard deviation.
    """

    def __init__(self, raw_mean: Tensor, raw_std: Tensor, min_std: float, max_std: float) -> None:
        mean = torch.tanh(raw_mean.float())
        super().__init__(mean, (max_std - min_std) * torch.sigmoid(raw_std.float() + 2.0) + min_std)


class TruncatedNormal:
    """Normal with its mean in [-1, 1], of which nothing outside [-1, 1] is left.

    With its mean inside, at least a third of a normal of std 2 is left, so nothing here divides by
    a small number. Source: danijar/dreamerv2 @ 07d906e9, `common/nets.py`, `common/dists.py`.

    Args:
        raw_mean, raw_std: `[..., A]`. min_std: least standard deviation of the whole normal.
    """

    def __init__(self, raw_mean: Tensor, raw_std: Tensor, min_std: float) -> None:
        mean, std = torch.tanh(raw_mean.float()), sigmoid2_std(raw_std, min_std)
        self.whole = Normal(mean, std)
        self.low, self.high = (-1 - mean) / std, (1 - mean) / std
        self.below = torch.special.ndtr(self.low)
        self.mass = torch.special.ndtr(self.high) - self.below

    def sample(self, noise: Tensor) -> Tensor:
        """Draw `[..., A]` by the inverse distribution function, not on the very border.

        The gradient is that of the draw before it is clipped to `1 - 1e-6`.
        """
        drawn = self.whole.sample(self.below + noise.float() * self.mass)
        return drawn.detach().clamp(-_INSIDE, _INSIDE) + (drawn - drawn.detach())

    def mode(self) -> Tensor:
        """The mean, `[..., A]`: it lies inside."""
        return self.whole.mean

    def logp(self, value: Tensor) -> Tensor:
        """Log-density per dimension, `[..., A]`; a value outside counts as on the border."""
        return self.whole.logp(value.float().clamp(-1, 1)) - torch.log(self.mass)

    def entropy(self) -> Tensor:
        """Entropy per dimension, `[..., A]`, in nats."""
        borders = self.low * _density(self.low) - self.high * _density(self.high)
        return self.whole.entropy() + torch.log(self.mass) + borders / (2 * self.mass)


class TanhNormal:
    """`tanh` of a normal whose mean is within `mean_scale` of zero.

    Mode and entropy have no closed form. The official code takes the likeliest of 100 samples, and
    minus the mean log-density of 100 samples. Here the samples are the quantiles (k + 1/2) / 100 of
    each dimension, so that both are functions of the parameters alone: they need no noise, are the
    same in every run, and cover a distribution as evenly as 100 points can. Of the entropy only
    what `tanh` changes is a mean over them; that of the normal is known. A wide normal has its mode
    next to the border: with std 5 the squashed density is highest near -1 and 1.

    Source: danijar/dreamer @ 56d4d444, `models.py` and `tools.py`.

    Args:
        raw_mean, raw_std: `[..., A]`.
        min_std: least standard deviation before `tanh`. init_std: above that, where raw_std is 0.
        mean_scale: bound of the mean before `tanh`.
        mode: what stands for the likeliest value, one of `TANH_MODES`.
    """

    def __init__(
        self,
        raw_mean: Tensor,
        raw_std: Tensor,
        min_std: float,
        init_std: float,
        mean_scale: float = 5.0,
        mode: Callable[[TanhNormal], Tensor] | None = None,
    ) -> None:
        self._mode = mode or _likeliest
        mean = mean_scale * torch.tanh(raw_mean.float() / mean_scale)
        offset = init_std + math.log(-math.expm1(-init_std))  # softplus of it is init_std
        self.before = Normal(mean, softplus_std(raw_std.float() + offset, min_std))

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw `[..., A]` from uniform noise `[..., A]`."""
        return torch.tanh(self.before.sample(noise))

    def mode(self) -> Tensor:
        """The quantile with the highest density, `[..., A]`, or what stands for it."""
        return self._mode(self)

    def logp(self, value: Tensor) -> Tensor:
        """Log-density per dimension, `[..., A]`; the border and beyond count as just inside."""
        return self.logp_before(torch.atanh(value.float().clamp(-_INVERTIBLE, _INVERTIBLE)))

    def entropy(self) -> Tensor:
        """Entropy per dimension, `[..., A]`, in nats; 100 times the work of the others."""
        return self.before.entropy() + _log_slope(self.points()).mean(0)

    def points(self) -> Tensor:
        """Quantiles before `tanh`, `[100, ..., A]`."""
        mean = self.before.mean
        grid = (torch.arange(_POINTS, device=mean.device) + 0.5) / _POINTS
        return self.before.sample(grid.view(-1, *[1] * mean.ndim))

    def logp_before(self, x: Tensor) -> Tensor:
        """Log-density of `tanh(x)`."""
        return self.before.logp(x) - _log_slope(x)


def _likeliest(policy: TanhNormal) -> Tensor:
    points = policy.points()
    best = policy.logp_before(points).argmax(0, keepdim=True)
    return torch.tanh(points.gather(0, best).squeeze(0))


def _mean(policy: TanhNormal) -> Tensor:
    return torch.tanh(policy.points()).mean(0)


def _median(policy: TanhNormal) -> Tensor:
    return torch.tanh(policy.before.mean)


# The quantile with the highest density, the mean of all quantiles, `tanh` of the normal's mean.
TANH_MODES: dict[str, Callable[[TanhNormal], Tensor]] = {
    "likeliest": _likeliest,
    "mean": _mean,
    "median": _median,
}


def _log_slope(x: Tensor) -> Tensor:
    """`log(1 - tanh(x)**2)`, in a form that is exact far out."""
    return 2 * (math.log(2) - x - F.softplus(-2 * x))


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z**2 - _HALF_LOG_2PI)
