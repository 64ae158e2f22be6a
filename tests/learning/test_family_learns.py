"""Each agent learns with the settings shipped for it, and not with a part cut out.

Thresholds are those of docs/learning.md. Random play scores about -1,200 in Pendulum, 22 in
CartPole and -0.78 in catch.
"""

from __future__ import annotations

import pytest

from dreamer_plugin.run.evaluate import evaluate_run

pytestmark = pytest.mark.slow

GOALS = {
    ("v1", "gym/Pendulum-v1"): -400.0,
    ("v2", "gym/Pendulum-v1"): -400.0,
    ("v3", "gym/Pendulum-v1"): -400.0,
    ("v2", "gym/CartPole-v1"): 450.0,
    ("v1", "toy/catch"): 0.9,
    ("v2", "toy/catch"): 0.9,
}
CUTS = {
    "the policy's gradient": {"loss_scales.policy": 0.0},
    "the prior": {"loss_scales.dyn": 0.0, "loss_scales.rep": 0.0},
}


@pytest.mark.parametrize(("agent", "env"), GOALS)
def test_it_learns(train, agent, env):
    assert evaluate_run(train(env, agent), episodes=20).mean >= GOALS[agent, env]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("agent", "env"), GOALS)
def test_it_would_not_without(train, agent, env, cut):
    assert evaluate_run(train(env, agent, **CUTS[cut]), episodes=20).mean < GOALS[agent, env]
