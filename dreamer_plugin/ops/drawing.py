"""Draws of categoricals from logits, without a gradient: the values of `Categorical`'s, faster.

A dream draws T * B * H times S classes and needs nothing but the draw: no log-probabilities, and
no exponential of them. With few classes, a reduction over the last axis leaves most of a vector
register empty; there the classes come first, and every operation runs along groups and rows:

    logits [M, S, K] -> [K, M, S] -> cumulative sums c0 c1 … -> which are below u -> differences

    below   1  c0 <= u   c1 <= u   …   0          one-hot k: below(k) - below(k+1)
"""

from __future__ import annotations

import torch
from torch import Tensor

from dreamer_plugin.ops.distributions import categorical_index

_FEW = 8  # classes; from 16 on a row fills a register, between them there is no size of ours


@torch.no_grad()
def draw_one_hot(logits: Tensor, unimix: float, uniform: Tensor) -> Tensor:
    """One-hot draw of `(1 - unimix) softmax(logits) + unimix / K` by one uniform number each.

    Args:
        logits: `[..., S, K]`, of any float type. unimix: share of the uniform distribution.
        uniform: `[..., S]` in [0, 1).

    Returns:
        `[..., S, K]`, float32.
    """
    if logits.shape[-1] <= _FEW:
        return _classes_first(logits, unimix, uniform)
    classes = logits.shape[-1]
    probs = (1 - unimix) * torch.softmax(logits.float(), -1) + unimix / classes
    index = categorical_index(probs, uniform)
    return torch.zeros_like(probs).scatter_(-1, index.unsqueeze(-1), 1.0)


def _classes_first(logits: Tensor, unimix: float, uniform: Tensor) -> Tensor:
    classes = logits.shape[-1]
    each = logits.movedim(-1, 0).float().contiguous()  # K … S
    exps = torch.exp(each - each.amax(0))
    probs = exps * ((1 - unimix) / exps.sum(0)) + unimix / classes
    sums = [probs[0]]
    for k in range(1, classes):
        sums.append(sums[-1] + probs[k])
    drawn = uniform * sums[-1]  # scaled by the total, as in `categorical_index`
    below = [torch.ones_like(drawn), *((c <= drawn).to(drawn.dtype) for c in sums[:-1])]
    below.append(torch.zeros_like(drawn))
    return torch.stack([a - b for a, b in zip(below, below[1:], strict=False)], -1)
