"""500 updates on real envs must teach the world model to draw what it sees.

The yardstick is the best constant: the mean of the training observations. A decoder that sees
nothing of the state can learn that constant and no more, so falling 30 % below it takes a working
encoder, recurrent model and decoder. Both batches are collected by random play; the one that is
scored comes from another seed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import compose
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.collect import VectorCollector
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.data.random_policy import RandomPolicy
from dreamer_plugin.ops.scaling import symlog
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.replay import build_replay
from dreamer_plugin.spaces import Spaces

pytestmark = pytest.mark.slow

UPDATES = 500
TASKS = {
    "pong": ("atari/Pong", {}),
    "walker": ("dmc/walker-walk", {}),
    "walker-pixels": ("dmc/walker-walk", {"env.obs": "pixels"}),
    "crafter": ("crafter/reward", {}),
}
# A small batch and a fast learning rate: 500 updates are few. Dreams teach the world model nothing.
OPTIONS = {
    "size": "1m",
    "replay.batch_size": 16,
    "replay.batch_length": 16,
    "replay.capacity": 4000,
    "replay.online": False,
    "env.num_envs": 2,
    "env.processes": False,
    "optim.lr": 1e-3,
    "optim.warmup": 50,
    "behavior.imag_horizon": 2,
    "behavior.imag_last": 2,
    "precision": "auto",
    "device": "cpu",
}


def played(cfg, seed: int, steps: int):
    """A replay of random play, and the spaces of the env."""
    vector = source_of(cfg).vector(seed)
    try:
        spaces = Spaces.from_gym(vector.observation_space, vector.action_space)
        latents = {"deter": cfg.model.deter, "stoch_shape": (cfg.model.groups,)}
        policy = RandomPolicy(spaces, **latents)
        buffer = build_replay(replace(cfg, seed=seed), spaces, vector.num_envs, **latents)
        noise = NoiseStreams(seed, vector.num_envs, policy.noise_size)
        collector = VectorCollector(vector, policy, buffer, Aligner(vector.num_envs, spaces), noise)
        for _ in range(steps // vector.num_envs):
            collector.step()
    finally:
        vector.close()
    return buffer, spaces


def in_loss_space(name: str, value: Tensor, spaces: Spaces) -> Tensor:
    """Observations as the reconstruction loss sees them."""
    kinds = {key.name: key.kind for key in spaces.obs}
    return value.float() / 255 if kinds[name] == "image" else symlog(value.float())


def constant_loss(train, scored, spaces: Spaces) -> float:
    """Reconstruction loss of the mean training observation, summed over keys."""
    total = 0.0
    for key in spaces.obs:
        mean = in_loss_space(key.name, train["obs", key.name], spaces).mean((0, 1))
        error = (in_loss_space(key.name, scored["obs", key.name], spaces) - mean) ** 2
        total += float(error.sum() / error.shape[0] / error.shape[1])
    return total


@torch.no_grad()
def reconstruction_loss(agent: Agent, batch, spaces: Spaces) -> float:
    losses = agent.losses(agent.unroll_context(batch)).each
    return sum(float(losses[key.name].mean()) for key in spaces.obs)


def detach_decoder(agent: Agent) -> None:
    """Break the agent: the decoder's loss no longer reaches what it decodes from."""
    decoder = agent.world.decoder.forward
    agent.world.decoder.forward = lambda deter, stoch: decoder(deter.detach(), stoch.detach())


def learned_share(task: str, broken: bool) -> float:
    """Loss after the updates, relative to the constant's, on a batch of another seed."""
    env, options = TASKS[task]
    cfg = compose(env, options=OPTIONS | options).config
    replay, spaces = played(cfg, seed=0, steps=3000)
    other, _ = played(cfg, seed=1, steps=600)
    agent = build_agent(cfg, spaces)
    if broken:
        detach_decoder(agent)
    for _ in range(UPDATES):
        agent.update(replay.sample())
    scored = torch.cat([other.sample() for _ in range(4)])
    train = torch.cat([replay.sample() for _ in range(16)])
    return reconstruction_loss(agent, scored, spaces) / constant_loss(train, scored, spaces)


# In Pong 500 updates teach the background alone: 1.03 of the constant's loss (docs/learning.md).
BACKGROUND_ONLY = pytest.mark.xfail(reason="Pong's ball and paddles take longer", strict=True)


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[BACKGROUND_ONLY] * (task == "pong")) for task in TASKS]
)
def test_reconstruction_falls(task):
    assert learned_share(task, broken=False) <= 0.7


@pytest.mark.parametrize("task", TASKS)
def test_it_would_not_with_the_decoder_detached(task):
    assert learned_share(task, broken=True) > 0.7
