"""Divergences between latent distributions, and the losses built from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Divergence: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def categorical_kl(logp: Tensor, logq: Tensor) -> Tensor:
    """`KL(p || q)` of independent categoricals, summed over them.

    Args:
        logp, logq: `[..., S, K]` normalised log-probabilities.

    Returns:
        `[...]` in nats.
    """
    return (logp.exp() * (logp - logq)).sum((-2, -1))


def categorical_kl_each(logp: Tensor, logq: Tensor) -> Tensor:
    """The terms of `categorical_kl`: `KL(p || q)` of each categorical, `[..., S]` in nats."""
    return (logp.exp() * (logp - logq)).sum(-1)


def normal_kl(mean_p: Tensor, std_p: Tensor, mean_q: Tensor, std_q: Tensor) -> Tensor:
    """`KL(p || q)` of normals, elementwise.

    Args:
        mean_p, std_p, mean_q, std_q: tensors of shapes that broadcast; standard deviations > 0.

    Returns:
        Nats, of the common shape.
    """
    ratio = (std_p / std_q) ** 2
    return 0.5 * (ratio + ((mean_p - mean_q) / std_q) ** 2 - 1 - torch.log(ratio))


def balanced_kl(
    kl: Divergence,
    post: Tensor,
    prior: Tensor,
    free: float,
    free_over: str = "each",
) -> tuple[Tensor, Tensor]:
    """Both halves of the balanced KL loss, each not less than `free` nats.

    `dyn = max(free, KL(sg(post) || prior))` trains the prior, `rep = max(free, KL(post ||
    sg(prior)))` the posterior; the two have one value and different gradients, and their plain sum
    has those of one KL without stops (V1). Below the free nats the gradient is exactly zero.
    V1 and V2 take the maximum of the mean.

    Source: DreamerV3 paper (arXiv 2301.04104), world model learning; `dreamerv3/rssm.py`.

    Args:
        kl: divergence of two parameter tensors, `[..., P] x [..., P] -> [...]`, for
            `"variable"` `[..., S]`.
        post, prior: distribution parameters.
        free: nats below which a divergence is not reduced further.
        free_over: what the free nats hold for, `"each"` element, the `"mean"` of all, or each
            `"variable"` of the last axis, whose mean is then the loss (torchrl 0.14.1,
            `categorical_kl_balanced`).

    Returns:
        `(dyn, rep)`, each `[...]`; one value everywhere where they hold for the mean.
    """
    floored = FLOORS[free_over]
    return floored(kl(post.detach(), prior), free), floored(kl(post, prior.detach()), free)


def two_way_kl(
    kl: Divergence, post: Tensor, prior: Tensor, free: float, free_over: str = "each"
) -> tuple[Tensor, Tensor]:
    """`max(free, KL(post || prior))` and `max(free, KL(prior || post))`, nothing stopped.

    Both train both sides. Arguments and shapes as of `balanced_kl`.
    """
    floored = FLOORS[free_over]
    return floored(kl(post, prior), free), floored(kl(prior, post), free)


def plain_kl(
    kl: Divergence, post: Tensor, prior: Tensor, free: float, free_over: str = "each"
) -> tuple[Tensor]:
    """`max(free, KL(post || prior))` alone, nothing stopped; arguments as of `balanced_kl`.

    Source: DreamerV1 (arXiv:1912.01603), whose KL loss is this with 3 nats for the mean.
    """
    return (FLOORS[free_over](kl(post, prior), free),)


def _floor_mean(kl: Tensor, free: float) -> Tensor:
    return torch.clamp(kl.mean(), min=free).expand_as(kl)


FLOORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "each": lambda kl, free: torch.clamp(kl, min=free),
    "mean": _floor_mean,
    "variable": lambda kl, free: torch.clamp(kl, min=free).mean(-1),
}
KL_FORMS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "balanced": balanced_kl,
    "forward_reverse": two_way_kl,
    "plain": plain_kl,
}
