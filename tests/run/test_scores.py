"""Statistics of returns, by hand."""

import numpy as np
import pytest

from dreamer_plugin.run.scores import interquartile_mean, interval


def test_the_interquartile_mean_by_hand():
    # Of eight values two are cut from each end; of seven one, because 7 / 4 is rounded down.
    assert interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == (2 + 3 + 4 + 5) / 4
    assert interquartile_mean([7, 1, 2, 3, 4, 5, 60]) == (2 + 3 + 4 + 5 + 7) / 5
    assert interquartile_mean([1, 2, 6]) == 3
    assert interquartile_mean([[0, 4, 8, 100], [1, 1, 2, 9]]).tolist() == [6, 1.5]


def test_the_interval_of_equal_returns_is_a_point():
    assert interval([500.0] * 20) == (500, 500)
    assert interval([3.0]) == (3, 3)


def test_the_interval_holds_the_mean_and_narrows_with_more_episodes():
    values = np.random.Generator(np.random.PCG64(0)).normal(10, 2, 400).tolist()
    (few_low, few_high), (low, high) = interval(values[:20]), interval(values)
    assert few_low < interquartile_mean(values[:20]) < few_high
    # The middle half of a normal has about 1.1 times the error of its mean, 2 / 20, on both sides.
    assert high - low == pytest.approx(2 * 1.96 * 1.1 * 2 / 20, rel=0.2)
    assert few_high - few_low > 2 * (high - low)
    assert interval(values[:20]) == (few_low, few_high)
