"""RMS norm and SiLU of large maps, forwards and backwards, piece by piece.

The plain form passes tens of megabytes from one operation to the next; here a piece of the rows
goes through all of them while it is in a processor's cache, with the gradient written by hand:

    n = x / rms(x),  y = silu(n * scale)        g = dy * silu'(n * scale)
    dscale = sum of g * n                       dx = (g * scale - n * mean(g * scale * n)) / rms(x)

A compiler is handed the plain form, of which it makes one loop for each half, in half of the time
again (`ChannelNorm` in `nets/vision.py`).

Rows of a few channels are too short for a processor's vectors. Several lie side by side then, and a
product with a matrix of blocks takes the mean of each, as often as it has channels: half the time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_PIECE = 2**18  # numbers for each thread, which share a piece
_SHORT, _WIDTH = 16, 32  # rows of fewer numbers lie side by side, so many together at most
_d_silu = torch.ops.aten.silu_backward.default  # of the gradient and the input


class _Rows:
    """How rows `[N, C]` are looked at: `[N/r, r*C]`, r of them side by side.

    Args:
        x: rows. scale: `[C]`.

    Attributes:
        scale: `[r*C]`.
    """

    def __init__(self, x: Tensor, scale: Tensor) -> None:
        count, channels = x.shape
        # A power of two, for maps have as many pixels, or a multiple.
        beside = 2 ** int(math.log2(_WIDTH / channels)) if channels < _SHORT else 1
        beside = math.gcd(count, beside)
        self.scale = scale.repeat(beside)
        each = torch.full((channels, channels), 1 / channels, device=x.device)
        self._blocks = torch.block_diag(*[each] * beside) if beside > 1 else None

    def pieces(self, x: Tensor) -> tuple[Tensor, ...]:
        """`x` cut between rows; of contiguous ones, views."""
        width = len(self.scale)
        return x.reshape(-1, width).split(max(1, _PIECE * torch.get_num_threads() // width))

    def means(self, x: Tensor) -> Tensor:
        """Mean of each row of a piece, as many times as it has channels, or once."""
        return x.mean(-1, keepdim=True) if self._blocks is None else x @ self._blocks


def _forward(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    out, look = x.new_empty(x.shape), _Rows(x, scale)
    with torch.autocast(x.device.type, enabled=False):
        for piece, filled in zip(look.pieces(x), look.pieces(out), strict=True):
            rows = piece.float()
            inverse = look.means(rows * rows).add_(eps).rsqrt_()
            filled.copy_(F.silu((rows * inverse).mul_(look.scale).to(x.dtype)))
    return out


def _backward(x: Tensor, scale: Tensor, grad: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    out, look = x.new_empty(x.shape), _Rows(x, scale)
    d_scale = torch.zeros_like(look.scale)
    with torch.autocast(x.device.type, enabled=False):
        for *given, filled in zip(*(look.pieces(t) for t in (x, grad, out)), strict=True):
            rows, upstream = (t.float() for t in given)
            inverse = look.means(rows * rows).add_(eps).rsqrt_()
            normed = rows * inverse
            d_scaled = _d_silu(upstream, normed * look.scale)
            along = d_scaled * normed
            d_scale += along.sum(0)
            mean = look.means(along.mul_(look.scale))
            d_scaled.mul_(look.scale).addcmul_(normed, mean, value=-1)
            filled.copy_(d_scaled.mul_(inverse))
    return out, d_scale.unflatten(0, (-1, len(scale))).sum(0)


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.eps = eps
        return _forward(x, scale, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale = ctx.saved_tensors
        return *_backward(x, scale, grad, ctx.eps), None


def norm_silu(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """`silu(rms_norm(x) * scale)` over the last axis, `[..., C]`.

    Args:
        scale: `[C]`. eps: added to the mean square.
    """
    rows: Tensor = _NormSilu.apply(x.flatten(0, -2), scale, eps)  # type: ignore[no-untyped-call]
    return rows.view(x.shape)
