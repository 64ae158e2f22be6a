"""Divergences between latent distributions, and the balanced loss built from them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def categorical_kl(logp: Tensor, logq: Tensor) -> Tensor:
    """`KL(p || q)` of independent categoricals, summed over them.

    Args:
        logp, logq: `[..., S, K]` normalised log-probabilities.

    Returns:
        `[...]` in nats.
    """
    return (logp.exp() * (logp - logq)).sum((-2, -1))


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
    kl: Callable[[Tensor, Tensor], Tensor], post: Tensor, prior: Tensor, free: float
) -> tuple[Tensor, Tensor]:
    """Both halves of the balanced KL loss, each not less than `free` nats per element.

    `dyn = max(free, KL(sg(post) || prior))` trains the prior, `rep = max(free, KL(post ||
    sg(prior)))` the posterior; the two have one value and different gradients. Below the free
    nats the gradient is exactly zero. Source: DreamerV3 paper eq. 5; `dreamerv3/rssm.py`.

    Args:
        kl: divergence of two parameter tensors, `[..., P] x [..., P] -> [...]`.
        post, prior: distribution parameters.
        free: nats below which a divergence is not reduced further.

    Returns:
        `(dyn, rep)`, each `[...]`.
    """
    dyn = torch.clamp(kl(post.detach(), prior), min=free)
    rep = torch.clamp(kl(post, prior.detach()), min=free)
    return dyn, rep
