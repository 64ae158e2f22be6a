"""RMS norm and SiLU of large maps, forwards and backwards, piece by piece.

The plain form passes tens of megabytes from one operation to the next; here a piece of the rows
goes through all of them while it is in a processor's cache, with the gradient written by hand:

    n = x / rms(x),  y = silu(n * scale)        g = dy * silu'(n * scale)
    dscale = sum of g * n                       dx = (g * scale - n * mean(g * scale * n)) / rms(x)

Both halves are operators of their own, so a compiler leaves them as they are: what it makes of the
plain form takes twice as long.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_PIECE = 8192  # rows
_d_silu = torch.ops.aten.silu_backward.default  # of the gradient and the input


@torch.library.custom_op("dreamer_plugin::norm_silu", mutates_args=())
def _forward(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    out = torch.empty_like(x)
    for rows, piece in zip(x.split(_PIECE), out.split(_PIECE), strict=True):
        normed = F.rms_norm(rows.float(), scale.shape, scale, eps).to(x.dtype)
        piece.copy_(F.silu(normed))
    return out


@torch.library.custom_op("dreamer_plugin::norm_silu_grad", mutates_args=())
def _backward(x: Tensor, scale: Tensor, grad: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    out, d_scale = torch.empty_like(x), torch.zeros_like(scale)
    for *given, piece in zip(*(t.split(_PIECE) for t in (x, grad, out)), strict=True):
        rows, upstream = (t.float() for t in given)
        inverse = torch.rsqrt((rows * rows).mean(-1, keepdim=True) + eps)
        normed = rows * inverse
        d_scaled = _d_silu(upstream, normed * scale)
        along = d_scaled * normed
        d_scale += along.sum(0)
        mean = (along @ scale / len(scale)).unsqueeze(-1)
        piece.copy_(torch.addcmul(d_scaled * scale, normed, mean, value=-1) * inverse)
    return out, d_scale


@_forward.register_fake
def _(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x)


@_backward.register_fake
def _(x: Tensor, scale: Tensor, grad: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(scale)


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
