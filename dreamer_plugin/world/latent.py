"""The stochastic state: its distribution, its samples, and how replay stores it."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamer_plugin.errors import UsageError
from dreamer_plugin.ops.distributions import Categorical, mix_uniform
from dreamer_plugin.ops.divergence import categorical_kl


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

    def mode(self, params: Tensor) -> Tensor:
        """Most likely value `[..., *shape]`."""

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """`KL(p || q)` in nats, `[...]`."""

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
    """

    def __init__(self, groups: int, classes: int, unimix: float = 0.01) -> None:
        if not 2 <= classes <= 256:
            raise UsageError(f"model.classes must be in 2..256 (stored as a byte), got {classes}")
        self.groups, self.classes, self.unimix = groups, classes, unimix
        self.shape: tuple[int, ...] = (groups, classes)
        self.params_size = groups * classes
        self.noise_shape: tuple[int, ...] = (groups,)
        self.storage_shape: tuple[int, ...] = (groups,)
        self.storage_dtype = torch.uint8

    def params(self, raw: Tensor) -> Tensor:
        """`[..., S*K] -> [..., S, K]` log-probabilities, float32."""
        return mix_uniform(raw.unflatten(-1, self.shape), self.unimix)

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """One-hot `[..., S, K]` from noise `[..., S]`, straight-through gradient."""
        return Categorical.normalised(params).sample(noise)

    def mode(self, params: Tensor) -> Tensor:
        """One-hot of the likeliest classes, straight-through gradient."""
        return Categorical.normalised(params).mode()

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """Sum over the groups of `KL(p || q)`, `[...]`."""
        return categorical_kl(p, q)

    def entropy(self, params: Tensor) -> Tensor:
        """Sum over the groups, `[...]`."""
        return -(params.exp() * params).sum((-2, -1))

    def to_storage(self, stoch: Tensor) -> Tensor:
        """One-hot `[..., S, K]` to class indices uint8 `[..., S]`."""
        return stoch.argmax(-1).to(torch.uint8)

    def from_storage(self, stored: Tensor) -> Tensor:
        """Class indices to one-hot float32."""
        return F.one_hot(stored.long(), self.classes).float()
