"""2x2 maximum whose tied maxima share the gradient equally, with a backward written by hand.

`x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).amax((-3, -1))` is the same in values and
gradients, to the bit (tests hold it so), and twenty times slower on a CPU: it took a third of an
update from images. `max_pool2d` gives the whole gradient to one of the tied. On a CPU both halves
are operators of their own, which a compiler leaves as they are: its own form takes twice as long.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_PIECE = 2**18  # numbers for each thread, which share a piece


@torch.library.custom_op("dreamer_plugin::max_pool", mutates_args=())
def _pooled(x: Tensor) -> Tensor:
    return _pool(x)


@_pooled.register_fake
def _(x: Tensor) -> Tensor:
    return _pool(x)


@torch.library.custom_op("dreamer_plugin::max_pool_grad", mutates_args=())
def _in_pieces(x: Tensor, pooled: Tensor, grad: Tensor) -> Tensor:
    """`_spread`, channels last, in pieces that stay in a processor's cache between operations."""
    out = torch.empty_like(x, memory_format=torch.channels_last)  # whose pairs can be written to
    piece_size = _PIECE * torch.get_num_threads()
    images = max(1, piece_size // max(1, math.prod(x.shape[1:])))
    for *given, piece in zip(*(t.split(images) for t in (x, pooled, grad, out)), strict=True):
        torch.mul(*_tied_and_share(*given), out=_pairs(piece))
    return out


@_in_pieces.register_fake
def _(x: Tensor, pooled: Tensor, grad: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        pooled = (_pooled if x.device.type == "cpu" else _pool)(x)
        ctx.save_for_backward(x, pooled)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, pooled = ctx.saved_tensors
        return (_in_pieces if x.device.type == "cpu" else _spread)(x, pooled, grad)


def _pairs(x: Tensor) -> Tensor:
    """`[N, C, H, W] -> [N, H/2, 2, W/2, 2*C]`, a view of channels-last maps.

    Both pixels of a row that are pooled together lie side by side, so whole rows are one long run.
    """
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2 * c)


def _pool(x: Tensor) -> Tensor:
    """Maximum of each four, `[N, C, H, W] -> [N, C, H/2, W/2]`."""
    rows, c = _pairs(x), x.shape[1]
    higher = torch.maximum(rows[:, :, 0], rows[:, :, 1])
    return torch.maximum(higher[..., :c], higher[..., c:]).permute(0, 3, 1, 2)


def _spread(x: Tensor, pooled: Tensor, grad: Tensor) -> Tensor:
    """Gradient of what was pooled, `[N, C, H, W]`."""
    tied, share = _tied_and_share(x, pooled, grad)
    return (tied * share).reshape_as(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _tied_and_share(x: Tensor, pooled: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each number is its four's maximum, and what such a one's gradient is, in pairs."""
    rows, c = _pairs(x), x.shape[1]
    # As numbers, not as truth values: those take a processor eight times as long.
    tied = torch.eq(rows, _beside(pooled).unsqueeze(2), out=torch.empty_like(rows))
    count = tied[:, :, 0] + tied[:, :, 1]  # N H/2 W/2 2C, of each half of a pair
    count += torch.cat([count[..., c:], count[..., :c]], -1)
    return tied, (_beside(grad) / count).unsqueeze(2)


def _beside(small: Tensor) -> Tensor:
    """Each pixel twice, as one of a pair: `[N, C, H/2, W/2] -> [N, H/2, W/2, 2*C]`."""
    rows = small.permute(0, 2, 3, 1)
    return torch.cat([rows, rows], -1)


def max_pool(x: Tensor) -> Tensor:
    """2x2 maximum of feature maps with even sides, `[N, C, H, W] -> [N, C, H/2, W/2]`."""
    if torch.compiler.is_exporting():  # other runtimes do not know our operators
        return F.max_pool2d(x, 2)
    pooled: Tensor = _MaxPool.apply(x)  # type: ignore[no-untyped-call]
    return pooled
