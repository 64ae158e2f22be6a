"""Dreams."""

from __future__ import annotations

import torch
from tensordict import TensorDict

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.imagine import imagine

from .. import tiny


def _dream(
    agent: Agent, noise: torch.Tensor
) -> tuple[tuple[torch.Tensor, torch.Tensor], TensorDict]:
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(6, 16, generator=rng), torch.rand(6, 4, 4, generator=rng)
    return start, imagine(agent.world.rssm, agent.behavior.actor, *start, 4, noise)


def test_a_dream_is_states_and_the_actions_drawn_from_them() -> None:
    agent = tiny.agent()
    rssm, actor = agent.world.rssm, agent.behavior.actor
    noise = torch.rand(5, 6, agent.noise_size, generator=torch.Generator().manual_seed(1))
    (deter, stoch), dream = _dream(agent, noise)
    assert dream["feat"].shape == (6, 5, rssm.feat_size) and dream["action"].shape == (6, 5, 5)
    assert not dream["feat"].requires_grad and not dream["action"].requires_grad
    with torch.no_grad():
        for t in range(5):
            assert torch.allclose(dream["feat"][:, t], rssm.feat(deter, stoch), atol=1e-6)
            action = actor(rssm.feat(deter, stoch)).sample(noise[t, :, 4:])
            assert torch.allclose(dream["action"][:, t], action, atol=1e-6)
            deter, stoch = rssm.imagine_step(deter, stoch, action, noise[t, :, :4])


def test_actions_matter_from_the_next_state_on() -> None:
    agent = tiny.agent()
    noise = torch.rand(5, 6, agent.noise_size, generator=torch.Generator().manual_seed(1))
    other = noise.clone()
    other[2, :, 4:] = 1 - other[2, :, 4:]  # the actions at step 2
    one, two = _dream(agent, noise)[1]["feat"], _dream(agent, other)[1]["feat"]
    assert torch.equal(one[:, :3], two[:, :3]) and not torch.equal(one[:, 3], two[:, 3])
