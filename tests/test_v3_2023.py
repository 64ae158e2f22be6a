"""The agent of 2023 as a whole: it builds, learns, saves and acts, on vectors and on images."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import compose
from dreamer_plugin.nets.layers import LayerNorm
from dreamer_plugin.nets.vision import LinearStemDecoder
from dreamer_plugin.ops.distributions import SymlogTwoHot
from dreamer_plugin.optim import Adam
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.cores import GRU

from . import tiny

VECTOR = gym.spaces.Box(-1, 1, (3,), np.float32)
IMAGE = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
PROBLEMS: dict[str, tuple[gym.Space[Any], gym.Space[Any]]] = {
    "vector and discrete": (VECTOR, gym.spaces.Discrete(4)),
    "image and continuous": (IMAGE, gym.spaces.Box(-1, 1, (2,), np.float32)),
}
TINY = {
    "model.deter": 16,
    "model.hidden": 8,
    "model.units": 8,
    "model.groups": 4,
    "model.classes": 4,
    "model.depth": 2,
    "behavior.imag_horizon": 3,
    "optim.warmup": 0,
    "precision": "float32",
}


def _agent(problem: str, seed: int = 0) -> Agent:
    obs, action = PROBLEMS[problem]
    cfg = compose(config=["v3_2023"], options=TINY).config
    agent = build_agent(cfg, Spaces.from_gym(gym.spaces.Dict({"seen": obs}), action))
    tiny.disturb(agent, seed)  # zero output layers would let nothing through
    return agent


def _batch(problem: str, seed: int = 0) -> TensorDict:
    """Two rows of six records; in the first an episode ends after the third."""
    obs, action = PROBLEMS[problem]
    rng = torch.Generator().manual_seed(seed)
    shape = [2, 6]
    if isinstance(action, gym.spaces.Discrete):
        index = torch.randint(0, 4, shape, generator=rng)
        actions = torch.nn.functional.one_hot(index, 4).float()
    else:
        actions = torch.randn(*shape, 2, generator=rng)
    seen = torch.randint(0, 256, (*shape, *obs.shape), generator=rng)
    no = torch.zeros(shape, dtype=torch.bool)
    data = {
        "obs": TensorDict({"seen": seen.byte() if obs is IMAGE else seen / 255}, shape),
        "action": actions,
        "reward": torch.randn(shape, generator=rng),
        "is_first": no.clone(),
        "is_last": no.clone(),
        "is_terminal": no.clone(),
        "deter": torch.zeros(*shape, 16),
        "stoch": torch.zeros(*shape, 4, dtype=torch.uint8),
    }
    batch = TensorDict(data, shape)
    batch["is_first"][0, 3] = batch["is_last"][0, 2] = batch["is_terminal"][0, 2] = True
    return batch


@pytest.mark.parametrize("problem", PROBLEMS)
def test_its_parts_are_those_of_2023(problem: str) -> None:
    agent = _agent(problem)
    world, behavior = agent.world, agent.behavior
    assert isinstance(world.rssm.core, GRU) and world.rssm.start is not None
    norms = [m for m in agent.modules() if isinstance(m, torch.nn.RMSNorm | torch.nn.LayerNorm)]
    assert {type(m) for m in norms} == {LayerNorm}
    assert {m.fan for m in agent.modules() if hasattr(m, "fan")} == {"avg"}
    feat = torch.zeros(1, world.rssm.feat_size)
    assert type(world.reward(feat)) is type(behavior.critic(feat)) is SymlogTwoHot
    assert "repval" not in agent.scales and agent.scales["dyn"] == 0.5
    assert (agent.context, agent.true_start, world.cont_threshold) == (0, True, True)
    assert (world.cont_discount, behavior.settings.dream_discount) == (1.0, 1 - 1 / 333)
    assert behavior.settings.dynamics == (1.0 if "continuous" in problem else 0.0)
    assert behavior.actor.unimix == 0.01
    if world.decoder.image is not None:
        assert type(world.decoder.image) is LinearStemDecoder and not world.decoder.image.sigmoid
    assert type(agent.optimizer) is Adam
    numbers = {(g["name"], g["lr"], g["eps"], g["clip"]) for g in agent.optimizer.param_groups}
    assert numbers == {
        ("model", 1e-4, 1e-8, 1000.0),
        ("actor", 3e-5, 1e-5, 100.0),
        ("critic", 3e-5, 1e-5, 100.0),
    }


@pytest.mark.parametrize("problem", PROBLEMS)
def test_updates_are_finite_and_reach_every_parameter(problem: str) -> None:
    agent = _agent(problem)
    for seed in range(3):
        before = {k: v.detach().clone() for k, v in agent.named_parameters()}
        latents, metrics = agent.update(_batch(problem, seed))
        assert all(value.isfinite() for value in metrics.values())
        assert latents["deter"].isfinite().all()
        for name, param in agent.named_parameters():
            assert not param.equal(before[name]), name
            if param.requires_grad:
                assert param.grad is not None and bool(param.grad.any()), name
                assert param.isfinite().all(), name


@pytest.mark.parametrize("problem", PROBLEMS)
def test_it_goes_on_bit_by_bit_after_a_reload(problem: str) -> None:
    agent = _agent(problem)
    agent.update(_batch(problem))
    saved = {k: v.clone() for k, v in agent.training_state().items()}
    other = _agent(problem, seed=5)
    other.load_training_state(saved)
    results = [one.update(_batch(problem, 1)) for one in (agent, other)]
    assert all(value.equal(results[1][1][key]) for key, value in results[0][1].items())
    states = agent.training_state(), other.training_state()
    assert states[0].keys() == states[1].keys()
    assert all(value.equal(states[1][key]) for key, value in states[0].items())


def test_it_acts_from_its_learned_start() -> None:
    """What the state was before a first frame makes no difference; the start does."""
    agent = _agent("vector and discrete")
    obs, noise = {"seen": torch.randn(2, 3)}, torch.rand(2, agent.noise_size)
    first, later = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    fresh = agent.initial(2)
    _, moved = agent.act(obs, later, fresh, noise)
    after = [agent.act(obs, first, state, noise)[1]["deter"] for state in (fresh, moved)]
    assert after[0].equal(after[1])
    assert after[0].equal(agent.act(obs, later, fresh, noise)[1]["deter"])
    agent.world.rssm.start.data += 1.0
    assert not agent.act(obs, first, fresh, noise)[1]["deter"].equal(after[0])
