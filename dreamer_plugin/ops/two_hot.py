"""Scalars as distributions over bins, from logits that are folded at zero.

Bins are mirrored around zero, and the mean sets off each probability against the one of the bin on
the other side. Read from one end to the other, that runs backwards through memory; folded, both
halves run outwards, and every operation of a mean or a loss is a plain loop over rows:

    bins     -b2  -b1   0   b1   b2         folded     0   b1   b2 |  -  -b1  -b2

With an odd number of bins zero has no counterpart; a bin of probability zero stands there. Layers
fold their weights (`nets.heads.TwoHotLayer`), which are small, and put out folded logits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamer_plugin.ops.scaling import symexp, symlog


def fold(x: Tensor, pad: float = -math.inf) -> Tensor:
    """`[..., n]` by ascending bins to `[..., 2 * ceil(n / 2)]` in the order above.

    Args:
        x: weights, biases or logits. pad: what stands for the bin that does not exist.
    """
    half = x.shape[-1] // 2
    outwards = x[..., :half].flip(-1)
    missing = x.shape[-1] % 2
    return torch.cat([x[..., half:], F.pad(outwards, (missing, 0), value=pad)], -1)


class TwoHot:
    """Scalar as a distribution over bins in raw value space.

    Source: DreamerV3 paper (arXiv 2301.04104), robust predictions; `embodied/jax/outs.py`, TwoHot.

    Args:
        logits: `[..., n]`, or with `folded` as `fold` orders them.
        bins: `[n]` ascending, mirrored around zero (`symexp_bins`).
        folded: the order of the logits.
    """

    def __init__(self, logits: Tensor, bins: Tensor, folded: bool = False) -> None:
        self.folded = logits if folded else fold(logits)
        self.bins = bins

    @property
    def logits(self) -> Tensor:
        """By ascending bins, `[..., n]` float32."""
        outwards, inwards = self.folded.float().chunk(2, -1)
        return torch.cat([inwards[..., len(self.bins) % 2 :].flip(-1), outwards], -1)

    def pred(self) -> Tensor:
        """Expected value `[...]`; mirrored bins are set off first, so symmetric logits give 0."""
        above, below = torch.softmax(self.folded.float(), -1).chunk(2, -1)
        # Not a matrix product: under autocast that would round the bins to bfloat16.
        return ((above - below) * self.bins[len(self.bins) // 2 :]).sum(-1)

    def loss(self, target: Tensor) -> Tensor:
        """Cross entropy with targets spread linearly over their two nearest bins.

        Args:
            target: `[..., *shape]` for logits `[*shape, n]`; all targets of one call share a pass.

        Returns:
            As the target.
        """
        target = target.detach().float()
        below, above, weight_below = self._neighbours(target)
        shape = self.folded.shape[:-1]
        count = 2 * target.shape[: target.ndim - len(shape)].numel()
        index = torch.stack([below, above]).reshape(count, *shape).movedim(0, -1)  # *shape count
        logprobs: Tensor = _LogProbsAt.apply(self.folded, index)  # type: ignore[no-untyped-call]
        nearest = logprobs.movedim(-1, 0).reshape(2, *target.shape)
        return -(weight_below * nearest[0] + (1 - weight_below) * nearest[1])

    def _neighbours(self, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Places of the bins below and above and the share of the one below, each `[...]`."""
        last = self.bins.shape[0] - 1
        not_above = torch.searchsorted(self.bins, target.contiguous(), right=True)
        below, above = (not_above - 1).clamp(0, last), not_above.clamp(0, last)
        to_below = (self.bins[below] - target).abs()
        to_above = (self.bins[above] - target).abs()
        # Both neighbours are one bin outside the range: any share is right, the total is not zero.
        total = torch.where(below == above, 1.0, to_below + to_above)
        share = torch.where(below == above, 1.0, to_above / total)
        share = torch.where(target.isnan(), target, share)  # else it would be in the last bin
        return self._place(below), self._place(above), share

    def _place(self, index: Tensor) -> Tensor:
        """Where `fold` puts a bin."""
        count = len(self.bins)
        mirrored = count - 1 - index + count % 2  # behind the upper half, and the missing bin
        return torch.where(index >= count // 2, index - count // 2, mirrored)


class SymlogTwoHot(TwoHot):
    """Two-hot over bins in symlog space; `symexp` of their mean is the prediction.

    So the prediction is not the mean of a distribution over values, as with `TwoHot`. Source:
    danijar/dreamerv3 @ 423291a.

    Args:
        logits, bins, folded: as of `TwoHot`. clip: bound of the mean, before `symexp`.
    """

    def __init__(
        self, logits: Tensor, bins: Tensor, clip: float = math.inf, folded: bool = False
    ) -> None:
        super().__init__(logits, bins, folded)
        self.clip = clip

    def pred(self) -> Tensor:
        """`symexp` of the expected bin, `[...]`."""
        return symexp(super().pred().clamp(-self.clip, self.clip))

    def loss(self, target: Tensor) -> Tensor:
        """Cross entropy with `symlog(target)`, spread as in `TwoHot`."""
        return super().loss(symlog(target.detach().float()))


class _LogProbsAt(torch.autograd.Function):
    """Log-probabilities at a few classes; the gradients of all meet in one tensor.

    A gather for each target would fill one as large as the logits each, and add them up.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(logits, index)
        return torch.log_softmax(logits.float(), -1).gather(-1, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits, index = ctx.saved_tensors
        # Not from the log-probabilities: a compiler then shares its exponentials with `pred`.
        full = torch.softmax(logits.float(), -1).mul_(-grad.sum(-1, keepdim=True))
        return full.scatter_add_(-1, index, grad).to(logits.dtype), None
