"""The one learning test that continuous integration runs: minutes, and far from the end."""

from __future__ import annotations

import pytest

from dreamer_plugin.run.evaluate import evaluate_run


@pytest.mark.slow
def test_short_run_rises_above_chance(train):
    run = train("gym/CartPole-v1", **{"run.steps": 4000})
    # Random play scores 22; training episodes around step 4,000 returned 110 to 290 (two seeds).
    assert evaluate_run(run, episodes=10).mean >= 80
