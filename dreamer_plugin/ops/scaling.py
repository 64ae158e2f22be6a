"""Scalar transforms that squash large magnitudes, and the bins of two-hot outputs."""

from __future__ import annotations

import torch
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """Symmetric logarithm `sign(x) * log(1 + |x|)`, elementwise.

    Source: DreamerV3 paper (arXiv 2301.04104), robust predictions; `embodied/jax/nets.py`.
    """
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """Inverse of `symlog`: `sign(x) * (exp(|x|) - 1)`, elementwise."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def symexp_bins(count: int, limit: float = 20.0) -> Tensor:
    """Bins of a two-hot output, in raw value space, exactly mirrored around zero.

    Half of the bins are `symexp(linspace(-limit, 0))`, the others their negation, so that equal
    probabilities left and right cancel exactly. An even count holds zero twice.
    Source: `embodied/jax/heads.py` (symexp_twohot).

    Args:
        count: number of bins.
        limit: the ends are `symexp(-limit)` and `symexp(limit)`.

    Returns:
        `[count]` float32, ascending.
    """
    _check_bins(count)
    low = symexp(torch.linspace(-limit, 0, (count + 1) // 2, dtype=torch.float32))
    high = -(low if count % 2 == 0 else low[:-1]).flip(0)
    return torch.cat([low, high])


def linear_bins(count: int, limit: float = 20.0) -> Tensor:
    """Bins of a two-hot output in symlog space: evenly from `-limit` to `limit`, `[count]`.

    Exactly mirrored around zero. Source: danijar/dreamerv3 @ 423291a.
    """
    _check_bins(count)
    bins = torch.linspace(-limit, limit, count, dtype=torch.float32)
    return (bins - bins.flip(0)) / 2


def _check_bins(count: int) -> None:
    if count < 2:
        raise ValueError(f"a two-hot output needs at least 2 bins, got {count}")


def saturate(x: Tensor) -> Tensor:
    """Scale each element beyond [-1, 1] onto the border: `x / sg(max(1, |x|))`.

    Elementwise, not by vector norm, so one-hot actions pass untouched; the gradient beyond the
    border is `1 / |x|`. Source: `dreamerv3/rssm.py`, `RSSM._core`.
    """
    return x / torch.clamp(torch.abs(x), min=1.0).detach()
