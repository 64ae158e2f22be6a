"""The stochastic state: its distribution, its samples, and how replay stores it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.ops.continuous import STDS, Normal
from dreamer_plugin.ops.distributions import Categorical, gumbel_one_hot, mix_uniform
from dreamer_plugin.ops.divergence import categorical_kl, categorical_kl_each, normal_kl
from dreamer_plugin.ops.drawing import draw_one_hot


class Latent(Protocol):
    """What the RSSM asks of a latent; parameters and samples are plain tensors."""

    shape: tuple[int, ...]
    params_size: int
    noise_shape: tuple[int, ...]
    storage_shape: tuple[int, ...]
    storage_dtype: torch.dtype

    def params(self, raw: Tensor) -> Tensor:
        """Network output `[..., params_size]` to distribution parameters `[..., *]`."""

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Draw `[..., *shape]` from uniform noise `[..., *noise_shape]`, with its gradient."""

    def draw(self, raw: Tensor, noise: Tensor) -> Tensor:
        """The values of `sample(params(raw), noise)` as data, `[..., *shape]`."""

    def mode(self, params: Tensor) -> Tensor:
        """Most likely value `[..., *shape]`."""

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """`KL(p || q)` in nats, `[...]`."""

    def kl_each(self, p: Tensor, q: Tensor) -> Tensor:
        """The same for each variable, `[..., S]`."""

    def entropy(self, params: Tensor) -> Tensor:
        """Entropy in nats, `[...]`."""

    def to_storage(self, stoch: Tensor) -> Tensor:
        """Sample `[..., *shape]` to what replay keeps, `[..., *storage_shape]`."""

    def from_storage(self, stored: Tensor) -> Tensor:
        """The inverse of `to_storage`."""


class CategoricalLatent:
    """`groups` categoricals of `classes` classes each, mixed with a little of the uniform.

    Parameters are normalised log-probabilities `[..., S, K]`; samples are one-hot `[..., S, K]`;
    replay keeps class indices as bytes.

    Args:
        groups: S. classes: K, at most 256. unimix: share of the uniform distribution.
        gradient: of a sample, `"straight_through"` (that of the probabilities, one uniform number
            per group) or `"gumbel"` (see `gumbel_one_hot`, one number per class).
        gumbel_tau: temperature of the second.
    """

    storage_dtype = torch.uint8

    def __init__(
        self,
        groups: int,
        classes: int,
        unimix: float = 0.01,
        gradient: str = "straight_through",
        gumbel_tau: float = 1.0,
    ) -> None:
        if not 2 <= classes <= 256:
            raise UsageError(f"model.classes must be in 2..256 (stored as a byte), got {classes}")
        if gumbel_tau <= 0:
            raise UsageError(f"world.latent.gumbel_tau is {gumbel_tau}, but must be above 0")
        noises = {"straight_through": (groups,), "gumbel": (groups, classes)}
        self.noise_shape: tuple[int, ...] = choose(noises, gradient, "world.latent.gradient")
        self.gradient, self.gumbel_tau = gradient, gumbel_tau
        self.groups, self.classes, self.unimix = groups, classes, unimix
        self.shape: tuple[int, ...] = (groups, classes)
        self.params_size = groups * classes
        self.storage_shape: tuple[int, ...] = (groups,)

    def params(self, raw: Tensor) -> Tensor:
        """`[..., S*K] -> [..., S, K]` log-probabilities, float32."""
        return mix_uniform(raw.unflatten(-1, self.shape), self.unimix)

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """One-hot `[..., S, K]` from noise `[..., S]`, with `"gumbel"` from `[..., S, K]`."""
        if self.gradient == "gumbel":
            return gumbel_one_hot(params, noise, self.gumbel_tau)
        return Categorical.normalised(params).sample(noise)

    @torch.no_grad()
    def draw(self, raw: Tensor, noise: Tensor) -> Tensor:
        """See `Latent`; where one number draws a class, without log-probabilities."""
        if self.gradient == "gumbel":
            return self.sample(self.params(raw), noise)
        return draw_one_hot(raw.unflatten(-1, self.shape), self.unimix, noise)

    def mode(self, params: Tensor) -> Tensor:
        """One-hot of the likeliest classes, straight-through gradient."""
        return Categorical.normalised(params).mode()

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """Sum over the groups of `KL(p || q)`, `[...]`."""
        return categorical_kl(p, q)

    def kl_each(self, p: Tensor, q: Tensor) -> Tensor:
        """`KL(p || q)` of each group, `[..., S]`."""
        return categorical_kl_each(p, q)

    def entropy(self, params: Tensor) -> Tensor:
        """Sum over the groups, `[...]`."""
        return -(params.exp() * params).sum((-2, -1))

    def to_storage(self, stoch: Tensor) -> Tensor:
        """One-hot `[..., S, K]` to class indices uint8 `[..., S]`."""
        return stoch.argmax(-1).to(torch.uint8)

    def from_storage(self, stored: Tensor) -> Tensor:
        """Class indices to one-hot float32."""
        classes = torch.arange(self.classes, dtype=stored.dtype, device=stored.device)
        return (stored.unsqueeze(-1) == classes).float()


class GaussianLatent:
    """Independent normals.

    Parameters are mean and standard deviation in one tensor `[..., 2 * S]`; replay keeps samples as
    they are. Source: danijar/dreamer @ 56d4d444, `models.py`; danijar/dreamerv2 @ 07d906e9,
    `common/nets.py`.

    Args:
        size: S. min_std: least standard deviation.
        std: how a network's output becomes one, `"softplus"` (V1) or `"sigmoid2"` (V2: at most 2
            above the least), see `ops.continuous`.
    """

    storage_dtype = torch.float32

    def __init__(self, size: int, min_std: float = 0.1, std: str = "softplus") -> None:
        if min_std <= 0:  # a divergence divides by it
            raise UsageError(f"world.latent.min_std is {min_std}, but must be above 0")
        self.min_std, self.std = min_std, choose(STDS, std, "world.latent.std")
        self.shape: tuple[int, ...] = (size,)
        self.params_size = 2 * size
        self.noise_shape: tuple[int, ...] = (size,)
        self.storage_shape: tuple[int, ...] = (size,)

    def params(self, raw: Tensor) -> Tensor:
        """`[..., 2*S] -> [..., 2*S]`: mean, then standard deviation, float32."""
        mean, std = raw.chunk(2, -1)
        return torch.cat([mean.float(), self.std(std, self.min_std)], -1)

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Reparameterised draw `[..., S]` from noise `[..., S]`."""
        return Normal(*params.chunk(2, -1)).sample(noise)

    @torch.no_grad()
    def draw(self, raw: Tensor, noise: Tensor) -> Tensor:
        """See `Latent`."""
        return self.sample(self.params(raw), noise)

    def mode(self, params: Tensor) -> Tensor:
        """The mean, `[..., S]`."""
        return params.chunk(2, -1)[0]

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """Sum over the normals of `KL(p || q)`, `[...]`."""
        return self.kl_each(p, q).sum(-1)

    def kl_each(self, p: Tensor, q: Tensor) -> Tensor:
        """`KL(p || q)` of each normal, `[..., S]`."""
        return normal_kl(*p.chunk(2, -1), *q.chunk(2, -1))

    def entropy(self, params: Tensor) -> Tensor:
        """Sum over the normals, `[...]`."""
        return Normal(*params.chunk(2, -1)).entropy().sum(-1)

    def to_storage(self, stoch: Tensor) -> Tensor:
        """The sample itself, float32 `[..., S]`."""
        return stoch.float()

    def from_storage(self, stored: Tensor) -> Tensor:
        """The sample itself."""
        return stored
