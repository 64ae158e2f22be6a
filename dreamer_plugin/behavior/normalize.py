"""Running normalisers of returns, values and advantages.

Each is updated first and read afterwards: `offset, scale = norm(x)`.
Source: `embodied/jax/utils.py`, Normalize.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn


class Identity(nn.Module):
    """No normalisation: offset 0, scale 1."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(0, 1)`."""
        return x.new_zeros(()), x.new_ones(())

    def stats(self) -> tuple[Tensor, Tensor]:
        """`(0, 1)`."""
        return torch.zeros(()), torch.ones(())


class _Running(nn.Module):
    """Exponential averages of two statistics, from zero, with or without bias correction."""

    def __init__(self, rate: float, debias: bool) -> None:
        super().__init__()
        self.rate, self.debias = rate, debias
        self.first: Tensor
        self.second: Tensor
        self.corr: Tensor
        for name in ("first", "second", "corr"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def _follow(self, first: Tensor, second: Tensor) -> None:
        self.first.lerp_(first, self.rate)
        self.second.lerp_(second, self.rate)
        self.corr.lerp_(torch.ones_like(self.corr), self.rate)

    def _averages(self) -> tuple[Tensor, Tensor]:
        if not self.debias:
            return self.first, self.second
        corr = torch.clamp(self.corr, min=self.rate)
        return self.first / corr, self.second / corr


class Percentile(_Running):
    """Range between two percentiles, never below `limit`; offset is the lower one.

    Args:
        rate: share of the newest batch. low, high: percentiles in 0..100. limit: smallest scale.
        debias: divide by the weight seen so far.
    """

    def __init__(
        self,
        rate: float = 0.01,
        low: float = 5.0,
        high: float = 95.0,
        limit: float = 1.0,
        debias: bool = False,
    ) -> None:
        super().__init__(rate, debias)
        self.low, self.high, self.limit = low, high, limit

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take in `x` (any shape), then return offset and scale, both 0-d."""
        flat = x.detach().float().flatten().sort().values
        self._follow(_quantile(flat, self.low / 100), _quantile(flat, self.high / 100))
        return self.stats()

    def stats(self) -> tuple[Tensor, Tensor]:
        """Current offset and scale."""
        low, high = self._averages()
        return low.clone(), torch.clamp(high - low, min=self.limit)


class MeanStd(_Running):
    """Mean and standard deviation, the latter never below `limit`.

    Args:
        rate: share of the newest batch. limit: smallest scale. debias: as in `Percentile`.
    """

    def __init__(self, rate: float = 0.01, limit: float = 1e-8, debias: bool = True) -> None:
        super().__init__(rate, debias)
        self.limit = limit

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take in `x` (any shape), then return offset and scale, both 0-d."""
        x = x.detach().float()
        self._follow(x.mean(), (x**2).mean())
        return self.stats()

    def stats(self) -> tuple[Tensor, Tensor]:
        """Current offset and scale."""
        mean, square = self._averages()
        std = torch.sqrt(torch.relu(square - mean**2))
        return mean.clone(), torch.clamp(std, min=self.limit)


Normalizer: TypeAlias = Identity | Percentile | MeanStd


def _quantile(ascending: Tensor, share: float) -> Tensor:
    """Linear interpolation between neighbours; `torch.quantile` refuses more than 2^24 values."""
    place = share * (ascending.shape[0] - 1)
    below = int(place)
    above = min(below + 1, ascending.shape[0] - 1)
    return torch.lerp(ascending[below], ascending[above], place - below)
