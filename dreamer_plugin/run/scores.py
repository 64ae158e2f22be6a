"""Statistics of the returns of a few episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES, CONFIDENCE = 2000, 0.95


def interquartile_mean(values: Sequence[float] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Mean of the middle half along the last axis: a quarter is cut from each end, rounded down.

    Fewer than four values are all kept. Source: Agarwal et al. 2021, "Deep reinforcement learning
    at the edge of the statistical precipice"; scipy's `trim_mean(values, 0.25)` is the same.

    Args:
        values: `[..., N]`.

    Returns:
        `[...]`.
    """
    ordered = np.sort(np.asarray(values, np.float64), -1)
    count = ordered.shape[-1]
    cut = count // 4
    return np.asarray(ordered[..., cut : count - cut].mean(-1))


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Where the interquartile mean would lie if the episodes were drawn again.

    The percentile bootstrap: 2.5 % and 97.5 % of the interquartile means of 2,000 draws with
    replacement. It speaks of further episodes of this one agent, not of other training seeds.

    Args:
        values: of each episode. seed: of the draws.

    Returns:
        The lower and the upper end.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    given = np.asarray(values, np.float64)
    drawn = given[rng.integers(len(given), size=(RESAMPLES, len(given)))]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(interquartile_mean(drawn), [tail, 1 - tail])
    return float(low), float(high)
