"""Noise streams: independent of each other, and they continue."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.errors import UsageError


def test_an_env_draws_the_same_whoever_else_is_there() -> None:
    alone, three = NoiseStreams(3, 1, 4), NoiseStreams(3, 3, 4)
    for step in range(6):
        acts = np.array([True, step % 2 == 0, False])
        drawn = three.draw(acts)
        np.testing.assert_array_equal(alone.draw(np.array([True]))[0], drawn[0])
        assert (drawn[2] == 0).all()
        assert drawn[1].any() == acts[1]
    assert not np.array_equal(drawn[0], NoiseStreams(4, 1, 4).draw(np.array([True]))[0])


def test_resting_rows_do_not_move() -> None:
    rested, busy = NoiseStreams(0, 2, 3), NoiseStreams(0, 2, 3)
    for _ in range(5):
        rested.draw(np.array([True, False]))
    both = np.array([True, True])
    np.testing.assert_array_equal(rested.draw(both)[1], busy.draw(both)[1])


def test_state_survives_json() -> None:
    noise = NoiseStreams(0, 2, 3)  # an odd size leaves half a 64-bit draw in the generator
    rows = np.array([True, False])
    noise.draw(rows)
    again = NoiseStreams(9, 2, 3)
    again.load_state_dict(json.loads(json.dumps(noise.state_dict())))
    both = np.array([True, True])
    np.testing.assert_array_equal(noise.draw(both), again.draw(both))


def test_values_are_uniform() -> None:
    noise = NoiseStreams(0, 1, 10_000).draw(np.array([True]))
    assert noise.dtype == np.float32 and noise.min() >= 0 and noise.max() < 1
    # Standard error of the mean of 10,000 uniforms: 0.2887 / 100; five of them.
    assert abs(noise.mean() - 0.5) < 0.015


@pytest.mark.parametrize("count", [1, 3])
def test_envs_without_a_stream_of_their_own_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} envs, but noise of 2"):
        NoiseStreams(0, 2, 4).draw(np.ones(count, bool))
