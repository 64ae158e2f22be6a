"""Layers with the initialisation and the norm of the official code.

Unit order everywhere: linear (with bias) -> RMS norm -> SiLU.
Source: danijar/dreamerv3 @ e3f0224, `embodied/jax/nets.py`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Standard deviation of a unit normal truncated to [-2, 2] is 1 / 1.1368...
_TRUNC_CORRECTION = 1.1368472343385565
NORM_EPS = 1e-4


@torch.no_grad()
def init_fan_in(weight: Tensor, fan_in: int, outscale: float = 1.0) -> None:
    """Fill with a truncated normal of standard deviation `outscale / sqrt(fan_in)`, in place."""
    if outscale == 0.0:
        weight.zero_()
        return
    nn.init.trunc_normal_(weight, 0.0, 1.0, -2.0, 2.0)
    weight.mul_(_TRUNC_CORRECTION * outscale / math.sqrt(fan_in))


class Linear(nn.Linear):
    """`y = x W^T + b` with the project's initialisation; `outscale` scales the weights."""

    def __init__(self, in_features: int, out_features: int, outscale: float = 1.0) -> None:
        self.outscale = outscale
        super().__init__(in_features, out_features)

    def reset_parameters(self) -> None:
        """Draw the weights anew; zero the bias."""
        init_fan_in(self.weight, self.in_features, self.outscale)
        nn.init.zeros_(self.bias)


class BlockLinear(nn.Module):
    """Block-diagonal linear layer: `blocks` independent maps over chunks of the features.

    Its fan-in for initialisation is the whole input, not a block's share (as the official code).

    Args:
        in_features, out_features: both divisible by `blocks`.
        blocks: number of blocks G.
    """

    def __init__(self, in_features: int, out_features: int, blocks: int) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if size % blocks:
                raise ValueError(f"{name} {size} is not divisible by {blocks} blocks")
        self.blocks = blocks
        self.in_features = in_features
        self.weight = nn.Parameter(
            torch.empty(blocks, in_features // blocks, out_features // blocks)
        )
        self.bias = nn.Parameter(torch.empty(out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew; zero the bias."""
        init_fan_in(self.weight, self.in_features)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in] -> [..., out]`."""
        rows = x.reshape(-1, self.blocks, x.shape[-1] // self.blocks)  # M G in/G
        out = self.by_block(rows.transpose(0, 1))  # G M out/G
        return out.transpose(0, 1).reshape(*x.shape[:-1], -1)

    def by_block(self, x: Tensor) -> Tensor:
        """The same with the blocks as the leading axis: `[G, M, in/G] -> [G, M, out/G]`."""
        return torch.baddbmm(self.bias.view(self.blocks, 1, -1), x, self.weight)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm over the last axis, computed in float32, scale only."""

    def __init__(self, features: int) -> None:
        super().__init__(features, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., features]`, same dtype out as in."""
        return F.rms_norm(x.float(), self.normalized_shape, self.weight, self.eps).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """Layer norm over the last axis, computed in float32, scale and shift."""

    def __init__(self, features: int, eps: float = NORM_EPS) -> None:
        super().__init__(features, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., features]`, same dtype out as in."""
        return super().forward(x.float()).to(x.dtype)


class Unit(nn.Sequential):
    """Linear -> RMS norm -> SiLU."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(Linear(in_features, out_features), RMSNorm(out_features), nn.SiLU())


class MLP(nn.Sequential):
    """`layers` units of width `units`; with 0 layers the identity.

    `out_features` is the width of what comes out.
    """

    def __init__(self, in_features: int, layers: int, units: int) -> None:
        widths = [in_features] + [units] * layers
        super().__init__(*(Unit(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        self.out_features = widths[-1]
