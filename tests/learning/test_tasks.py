"""Whole runs that must end in a good agent: shipped settings, last checkpoint, sampled actions.

Thresholds are those the project promises in docs/learning.md; random play scores about 22 in
CartPole, -0.78 in catch and 0.5 in recall (counted in `dreamer_envs.toy`).
"""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.agent import Agent
from dreamer_plugin.config import load_config
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.evaluate import evaluate, evaluate_run, find_checkpoint, load_agent
from dreamer_plugin.run.folder import RunFolder

pytestmark = pytest.mark.slow


class Forgetful:
    """The same agent with its recurrent state zeroed before every decision."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def __getattr__(self, name):
        return getattr(self.agent, name)

    def act(self, obs, is_first, state, noise, deterministic=False):
        return self.agent.act(obs, torch.ones_like(is_first), state, noise, deterministic)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cartpole(train, seed):
    run = train("gym/CartPole-v1", seed=seed, compile="auto")
    assert evaluate_run(run, episodes=20).mean >= 450


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_catch(train, seed):
    assert evaluate_run(train("toy/catch", seed=seed), episodes=100).mean >= 0.9


def test_recall_needs_its_memory(train):
    run = train("toy/recall")
    assert evaluate_run(run, episodes=100).mean >= 0.95

    folder = RunFolder(run)
    cfg = load_config(folder.config_path)
    agent, _ = load_agent(cfg, find_checkpoint(folder))
    forgetful = evaluate(Forgetful(agent), source_of(cfg), episodes=200)
    assert forgetful.mean <= 0.6
