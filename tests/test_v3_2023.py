"""The agent of 2023 as a whole: it builds, learns, saves and acts, on vectors and on images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor_critic import ActorCritic
from dreamer_plugin.build import build_agent, build_behavior, build_optimizer, build_world
from dreamer_plugin.config import compose
from dreamer_plugin.nets.layers import LayerNorm
from dreamer_plugin.nets.vision import LinearStemDecoder
from dreamer_plugin.ops.two_hot import SymlogTwoHot
from dreamer_plugin.optim import Adam, GroupedOptimizer
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.cores import GRU
from dreamer_plugin.world.model import WorldModel

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
    "size": "small",
    "world.encoder.units": 8,
    "world.decoder.units": 8,
}
# By hand from the layers of dreamerv3/nets.py and size medium of configs.yaml, danijar/dreamerv3 @
# 423291a, for images 64x64x3 and 17 actions. A norm over n has 2 n; a bias stands only without one.
UNITS = 2048 * 640 + 2 * 640 + 2 * (640 * 640 + 2 * 640)  # 3 layers on deter 1024 and stoch 32 * 32
CONVS = 4 * 4 * (3 * 48 + 48 * 96 + 96 * 192 + 192 * 384)  # to, or from, 4 * 4 * 384 features
MEDIUM = {
    "world.encoder": CONVS + 2 * (48 + 96 + 192 + 384),
    "world.rssm.core": 1041 * 640 + 2 * 640 + (1024 + 640) * 3072 + 2 * 3072,
    "world.rssm.prior": 1024 * 640 + 2 * 640 + 640 * 1024 + 1024,
    "world.rssm.posterior": (1024 + 6144) * 640 + 2 * 640 + 640 * 1024 + 1024,
    "world.decoder": 2048 * 6144 + 6144 + CONVS + 2 * (192 + 96 + 48) + 3,
    "world.reward": UNITS + 640 * 255 + 255,
    "world.cont": UNITS + 640 + 1,
    "behavior.actor": UNITS + 640 * 17 + 17,
    "behavior.critic": UNITS + 640 * 255 + 255,
}
# What that program printed for the same in a run of March 2024: danijar/dreamerv3, issue 111.
# Only the action repeat had changed since that commit.
PRINTED = {"model": 32_468_675, "actor": 2_144_657, "critic": 2_297_215}


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
    assert {m.eps for m in norms} == {1e-3}
    assert {m.fan for m in agent.modules() if hasattr(m, "fan")} == {"avg"}
    assert world.rssm.core.gates.bias is None
    feat = torch.zeros(1, world.rssm.feat_size)
    assert type(world.reward(feat)) is type(behavior.critic(feat)) is SymlogTwoHot
    assert "repval" not in agent.scales and agent.scales["dyn"] == 0.5
    assert (agent.context, agent.dreams.true_start, world.cont_threshold) == (0, True, True)
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


def _full_size(
    size: str, obs: gym.Space[Any], action: gym.Space[Any]
) -> tuple[WorldModel, ActorCritic, GroupedOptimizer]:
    """Shapes without memory or values."""
    cfg = compose(config=["v3_2023"], options={"size": size}).config
    spaces = Spaces.from_gym(gym.spaces.Dict({"seen": obs}), action)
    with torch.device("meta"):
        world = build_world(cfg, spaces)
        behavior = build_behavior(cfg, spaces, world.rssm.feat_size)
        return world, behavior, build_optimizer(cfg.optim, world, behavior)


def _count(params: Iterable[torch.Tensor]) -> int:
    return sum(param.numel() for param in params)


def test_every_part_is_as_large_as_by_hand_and_the_whole_as_printed() -> None:
    world, behavior, optimizer = _full_size("medium", IMAGE, gym.spaces.Discrete(17))
    whole = torch.nn.ModuleDict({"world": world, "behavior": behavior})
    assert {name: _count(whole.get_submodule(name).parameters()) for name in MEDIUM} == MEDIUM
    assert world.rssm.start.shape == (1024,)
    groups = dict.fromkeys(PRINTED, 0)
    for group in optimizer.param_groups:
        groups[group["name"]] += _count(group["params"])
    assert groups == PRINTED


def test_no_size_changes_the_mlps_of_encoder_and_decoder() -> None:
    """Five layers of 1024 in every size: the author in danijar/dreamerv3, issue 86."""
    hidden = 2 * 1024 + 4 * (1024 * 1024 + 2 * 1024)  # all but the first layer's weight
    obs, action = gym.spaces.Box(-1, 1, (24,), np.float32), gym.spaces.Discrete(6)
    for size, feat in (("small", 512 + 1024), ("large", 2048 + 1024)):
        world = _full_size(size, obs, action)[0]
        assert _count(world.encoder.parameters()) == 24 * 1024 + hidden
        assert _count(world.decoder.parameters()) == feat * 1024 + hidden + 1024 * 24 + 24


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
