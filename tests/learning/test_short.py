"""The one learning test that continuous integration runs: minutes, and far from the end."""

from __future__ import annotations

import pytest

from dreamer_plugin.run.evaluate import evaluate_run

# What rises fastest, if not what ends best: few dreams at a high rate.
HASTE = {
    "run.steps": 4000,
    "precision": "float32",
    "behavior.imag_last": 8,
    "optim.lr": 1e-3,
    "optim.warmup": 200,
    "optim.anneal": 4000,
    "optim.lr_end": 0.1,
}


@pytest.mark.slow
def test_short_run_rises_above_chance(train):
    run = train("gym/CartPole-v1", **HASTE)
    # Random play scores 22; training episodes around step 4,000 returned 110 to 290 (two seeds).
    assert evaluate_run(run, episodes=10).mean >= 80
