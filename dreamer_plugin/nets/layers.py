"""Layers, and the style that all layers of an agent share.

Unit order everywhere: linear -> norm -> activation. The default style is the one of the official
code: biases everywhere, RMS norm, SiLU, weights scaled by the fan-in.
Source: danijar/dreamerv3 @ e3f0224, `embodied/jax/nets.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamer_plugin.errors import choose

# Standard deviation of a unit normal truncated to [-2, 2] is 1 / 1.1368...
_TRUNC_CORRECTION = 1.1368472343385565
NORM_EPS = 1e-4


def working_dtype(device: torch.device) -> torch.dtype:
    """Type of the factors of matrix products in this context: autocast's, else float32."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def _truncated_normal(weight: Tensor, outscale: float, n: float) -> None:
    nn.init.trunc_normal_(weight, 0.0, 1.0, -2.0, 2.0)
    weight.mul_(_TRUNC_CORRECTION * outscale / math.sqrt(n))


def _uniform(weight: Tensor, outscale: float, n: float) -> None:
    limit = outscale * math.sqrt(3.0 / n)  # of a uniform draw of deviation outscale / sqrt(n)
    nn.init.uniform_(weight, -limit, limit)


def _mean(fan_in: int, fan_out: int) -> float:
    return (fan_in + fan_out) / 2


Draw = Callable[[Tensor, float, float], None]
FANS: dict[str, tuple[Draw, Callable[[int, int], float]]] = {
    "in": (_truncated_normal, lambda fan_in, fan_out: fan_in),
    "avg": (_truncated_normal, _mean),
    "glorot": (_uniform, _mean),
}


@torch.no_grad()
def init_weight(
    weight: Tensor, fan_in: int, fan_out: int, fan: str = "in", outscale: float = 1.0
) -> None:
    """Fill with random numbers of standard deviation `outscale / sqrt(n)`, in place.

    Args:
        weight: of any shape. fan_in, fan_out: inputs and outputs that one weight connects.
        fan: what n is: `"in"`, or `"avg"` for the mean of both, of truncated normal numbers;
            `"glorot"` is that mean with uniform numbers, Keras' default: they lie within
            `outscale * sqrt(6 / (fan_in + fan_out))`.
        outscale: 0 gives zeros.
    """
    if outscale == 0.0:
        weight.zero_()
        return
    draw, count = FANS[fan]
    draw(weight, outscale, count(fan_in, fan_out))


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x W^T + b`, `[..., in] -> [..., out]`.

    A CPU first copies a bias to every row of the result. Compiled for one, the kernel that
    follows adds it in passing.

    Args:
        weight: `[out, in]`. bias: `[out]`.
    """
    compiling = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    if bias is None or not compiling or x.device.type != "cpu":
        return F.linear(x, weight, bias)
    # With an axis more, the compiler does not join the two again to what copies the bias.
    product = F.linear(x.unsqueeze(0), weight)
    return (product + bias.to(product.dtype)).squeeze(0)


class Linear(nn.Linear):
    """`y = x W^T + b`; `outscale` scales the initial weights, `fan` is of `init_weight`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        outscale: float = 1.0,
        fan: str = "in",
        bias: bool = True,
    ) -> None:
        self.outscale, self.fan = outscale, fan
        super().__init__(in_features, out_features, bias)

    def reset_parameters(self) -> None:
        """Draw the weights anew; zero the bias."""
        init_weight(self.weight, self.in_features, self.out_features, self.fan, self.outscale)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in] -> [..., out]`."""
        return affine(x, self.weight, self.bias)


class BlockLinear(nn.Module):
    """Block-diagonal linear layer: `blocks` independent maps over chunks of the features.

    Its fan-in for initialisation is the whole input, not a block's share (as the official code).

    Args:
        in_features, out_features: both divisible by `blocks`.
        blocks: number of blocks G. fan: of `init_weight`. bias: whether there is one.
        inputs_first: order of the weights in memory, `[in/G, G, out/G]`, their shape is the same:
            inputs that all blocks share then have one dense matrix, which is not copied first.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        blocks: int,
        fan: str = "in",
        bias: bool = True,
        inputs_first: bool = False,
    ) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if size % blocks:
                raise ValueError(f"{name} {size} is not divisible by {blocks} blocks")
        self.blocks, self.fan = blocks, fan
        self.in_features, self.out_features = in_features, out_features
        weight = torch.empty(blocks, in_features // blocks, out_features // blocks)
        if inputs_first:
            weight = weight.transpose(0, 1).contiguous().transpose(0, 1)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew; zero the bias."""
        drawn = torch.empty_like(self.weight, memory_format=torch.contiguous_format)
        init_weight(drawn, self.in_features, self.out_features, self.fan)
        with torch.no_grad():
            self.weight.copy_(drawn)  # the same numbers in any order of memory
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in] -> [..., out]`."""
        rows = x.reshape(-1, self.blocks, x.shape[-1] // self.blocks)  # M G in/G
        out = self.by_block(rows.transpose(0, 1))  # G M out/G
        return out.transpose(0, 1).reshape(*x.shape[:-1], -1)

    def by_block(self, x: Tensor) -> Tensor:
        """The same with the blocks as the leading axis: `[G, M, in/G] -> [G, M, out/G]`."""
        product = torch.bmm(x, self.weight)
        if self.bias is None:
            return product
        # Not `baddbmm`, which first copies the bias to every row; a compiler adds it in passing.
        return product + self.bias.to(product.dtype).view(self.blocks, 1, -1)

    def split_inputs(self, own: int, *shared: int) -> tuple[Tensor, ...]:
        """The weights of a block's own inputs, and of inputs that all blocks share, in order.

        Args:
            own, shared: numbers of inputs, in all those of a block.

        Returns:
            `[G, own, out/G]`, and of each shared part one dense matrix `[n, out]`; views where
            inputs come first in memory.
        """
        first, *rest = self.weight.transpose(0, 1).split([own, *shared])  # n G out/G
        return first.transpose(0, 1), *(part.flatten(1) for part in rest)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm over the last axis, computed in float32, scale only."""

    def __init__(self, features: int, eps: float = NORM_EPS) -> None:
        super().__init__(features, eps=eps)

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


NORMS: dict[str, Callable[[int, float], nn.Module]] = {
    "rms": RMSNorm,
    "layer": LayerNorm,
    "none": lambda features, eps: nn.Identity(),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"silu": nn.SiLU, "elu": nn.ELU, "relu": nn.ReLU}
BIASES = {"always": True, "unnormed": False}  # whether a layer has one although a norm follows


@dataclass(frozen=True)
class Style:
    """What all layers of an agent share.

    Args:
        norm: after every hidden layer, `"rms"`, `"layer"` or `"none"`. eps: of the norm.
        act: activation after it, `"silu"`, `"elu"` or `"relu"`.
        fan: of the initial weights, see `init_weight`.
        bias: `"always"`, or `"unnormed"`: only where no norm follows.
        conv_act: activation of feature maps, a word like `act`; empty is `act`.

    Raises:
        UsageError: at a word that names no part.
    """

    norm: str = "rms"
    eps: float = NORM_EPS
    act: str = "silu"
    fan: str = "in"
    bias: str = "always"
    conv_act: str = ""

    def __post_init__(self) -> None:
        choose(NORMS, self.norm, "nets.norm")
        choose(ACTIVATIONS, self.act, "nets.act")
        choose(FANS, self.fan, "nets.fan")
        choose(BIASES, self.bias, "nets.bias")
        choose(ACTIVATIONS, self.conv_act or self.act, "nets.conv_act")

    @property
    def bias_under_norm(self) -> bool:
        """Whether a layer that `make_norm` follows has a bias."""
        return BIASES[self.bias] or self.norm == "none"

    def make_norm(self, features: int) -> nn.Module:
        """Norm over the last axis of that many features."""
        return NORMS[self.norm](features, self.eps)

    def make_act(self) -> nn.Module:
        """The activation of vectors."""
        return ACTIVATIONS[self.act]()

    def make_conv_act(self) -> nn.Module:
        """The activation of feature maps."""
        return ACTIVATIONS[self.conv_act or self.act]()


OFFICIAL = Style()


class Unit(nn.Sequential):
    """Linear -> norm -> activation."""

    def __init__(self, in_features: int, out_features: int, style: Style = OFFICIAL) -> None:
        linear = Linear(in_features, out_features, fan=style.fan, bias=style.bias_under_norm)
        super().__init__(linear, style.make_norm(out_features), style.make_act())


class MLP(nn.Sequential):
    """`layers` units of width `units`; with 0 layers the identity.

    `out_features` is the width of what comes out, `style` that of its units.
    """

    def __init__(self, in_features: int, layers: int, units: int, style: Style = OFFICIAL) -> None:
        widths = [in_features] + [units] * layers
        super().__init__(*(Unit(a, b, style) for a, b in zip(widths, widths[1:], strict=False)))
        self.out_features, self.style = widths[-1], style
