"""Scalar heads: an MLP and an output layer that knows its distribution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.layers import MLP, Linear, affine
from dreamer_plugin.ops.distributions import (
    MSE,
    Binary,
    Output,
    SymexpMSE,
    UnitNormal,
)
from dreamer_plugin.ops.scaling import linear_bins, symexp_bins
from dreamer_plugin.ops.two_hot import SymlogTwoHot, TwoHot, fold


class TwoHotLayer(nn.Module):
    """Linear layer whose output is a two-hot distribution over `bins` bins.

    The bins are in value space, or with `squashed` evenly spaced in symlog space, where they reach
    from `-limit` to `limit` and predictions end at `clip`.
    """

    def __init__(
        self,
        in_features: int,
        bins: int,
        outscale: float,
        fan: str = "in",
        squashed: bool = False,
        limit: float = 20.0,
        clip: float = math.inf,
    ) -> None:
        super().__init__()
        if limit <= 0:
            raise UsageError(f"the bin_range of a two-hot head is {limit}, but must be above 0")
        self.limit = limit
        self.linear = Linear(in_features, bins, outscale, fan)
        self.squashed, self.clip = squashed, clip
        self.bins: Tensor
        made = linear_bins(bins, limit) if squashed else symexp_bins(bins, limit)
        self.register_buffer("bins", made, persistent=False)

    def forward(self, x: Tensor) -> TwoHot:
        """`[..., F] ->` two-hot over `[...]`."""
        weight, bias = fold(self.linear.weight.t(), 0.0).t(), fold(self.linear.bias)
        logits = affine(x, weight, bias)  # ... folded n
        if self.squashed:
            return SymlogTwoHot(logits, self.bins, self.clip, folded=True)
        return TwoHot(logits, self.bins, folded=True)


class BinaryLayer(nn.Module):
    """Linear layer whose output is a Bernoulli."""

    def __init__(self, in_features: int, outscale: float, fan: str = "in") -> None:
        super().__init__()
        self.linear = Linear(in_features, 1, outscale, fan)

    def forward(self, x: Tensor) -> Binary:
        """`[..., F] ->` Bernoulli over `[...]`."""
        return Binary(self.linear(x).squeeze(-1))


class MSELayer(nn.Module):
    """Linear layer with a squared error, optionally against the symlog of the target."""

    def __init__(self, in_features: int, outscale: float, symlog: bool, fan: str = "in") -> None:
        super().__init__()
        self.linear = Linear(in_features, 1, outscale, fan)
        self.symlog = symlog

    def forward(self, x: Tensor) -> MSE:
        """`[..., F] ->` squared error over `[...]`."""
        return MSE(self.linear(x).squeeze(-1), 0, self.symlog)


class SymexpMSELayer(nn.Module):
    """Linear layer with a squared error in symlog space, whose predictions are in value space.

    `clip` bounds them in symlog space.
    """

    def __init__(
        self, in_features: int, outscale: float, fan: str = "in", clip: float = math.inf
    ) -> None:
        super().__init__()
        self.linear = Linear(in_features, 1, outscale, fan)
        self.clip = clip

    def forward(self, x: Tensor) -> SymexpMSE:
        """`[..., F] ->` squared error over `[...]`."""
        return SymexpMSE(self.linear(x).squeeze(-1), self.clip)


class LearnedSymexpMSELayer(SymexpMSELayer):
    """The same with a learned scale `softplus(theta)` of what is squashed, which begins as 1."""

    def __init__(
        self, in_features: int, outscale: float, fan: str = "in", clip: float = math.inf
    ) -> None:
        super().__init__(in_features, outscale, fan, clip)
        self.theta = nn.Parameter(torch.full((1,), math.log(math.e - 1)))

    def forward(self, x: Tensor) -> SymexpMSE:
        """`[..., F] ->` squared error over `[...]`."""
        return SymexpMSE(self.linear(x).squeeze(-1), self.clip, F.softplus(self.theta).squeeze(0))


class NormalLayer(nn.Module):
    """Linear layer whose output is a normal of variance 1."""

    def __init__(self, in_features: int, outscale: float, fan: str = "in") -> None:
        super().__init__()
        self.linear = Linear(in_features, 1, outscale, fan)

    def forward(self, x: Tensor) -> UnitNormal:
        """`[..., F] ->` normal over `[...]`."""
        return UnitNormal(self.linear(x).squeeze(-1), 0)


class Head(nn.Module):
    """MLP, then an output layer; returns an `Output`.

    Args:
        mlp: `[..., F] -> [..., U]`. layer: `[..., U] -> Output` over `[...]`.
    """

    def __init__(self, mlp: MLP, layer: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp
        self.layer = layer

    def forward(self, feat: Tensor) -> Output:
        """`[..., F] ->` output over `[...]`."""
        output: Output = self.layer(self.mlp(feat))
        return output
