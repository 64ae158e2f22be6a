"""Dreams."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from tensordict import TensorDict
from torch.utils._python_dispatch import TorchDispatchMode

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.imagine import dream_step, imagine, with_true_start

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


class _Copies(TorchDispatchMode):
    """Counts the copies of each matrix of some modules that are made inside, casts among them."""

    def __init__(self, *modules: torch.nn.Module) -> None:
        super().__init__()
        named = [item for module in modules for item in module.named_parameters()]
        self._names = {p.untyped_storage().data_ptr(): n for n, p in named if p.dim() > 1}
        self.made: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        copied = {"aten::clone": 0, "aten::_to_copy": 0, "aten::copy_": 1}.get(func._schema.name)
        if copied is not None:
            source = args[copied].untyped_storage().data_ptr()
            self.made.update([self._names[source]] if source in self._names else [])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("precision", "times"), [(torch.float32, 0), (torch.bfloat16, 1)])
def test_no_step_of_a_dream_copies_weights(precision: torch.dtype, times: int) -> None:
    """One matrix for what all blocks share, copied at each step, took half a dream of size 200m."""
    agent = tiny.agent()
    agent.precision = precision
    noise = torch.rand(5, 6, agent.noise_size, generator=torch.Generator().manual_seed(1))
    with _Copies(agent.world.rssm, agent.behavior.actor) as copies, agent.autocast():
        _dream(agent, noise)
    assert set(copies.made.values()) <= {times}
    assert ("core.mix.0.weight" in copies.made) is bool(times)


def test_weights_rounded_once_dream_as_those_that_autocast_rounds() -> None:
    agent = tiny.agent()
    agent.precision = torch.bfloat16
    rssm, actor = agent.world.rssm, agent.behavior.actor
    noise = torch.rand(5, 6, agent.noise_size, generator=torch.Generator().manual_seed(1))
    with agent.autocast(), torch.no_grad():
        (deter, stoch), dream = _dream(agent, noise)
        for t in range(4):
            feat, action, deter, stoch = dream_step(rssm, actor, deter, stoch, noise[t])
            assert torch.equal(dream["feat"][:, t], feat)
            assert torch.equal(dream["action"][:, t], action)
    assert dream["feat"].dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in agent.parameters())


def _through(agent: Agent, noise: torch.Tensor) -> TensorDict:
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(6, 16, generator=rng), torch.rand(6, 4, 4, generator=rng)
    return imagine(agent.world.rssm, agent.behavior.actor, *start, 4, noise, through=True)


def test_a_dream_with_a_graph_is_the_same_dream() -> None:
    agent = tiny.agent()
    noise = torch.rand(5, 6, agent.noise_size, generator=torch.Generator().manual_seed(1))
    plain, through = _dream(agent, noise)[1], _through(agent, noise)
    assert torch.allclose(plain["feat"], through["feat"], atol=1e-6)
    assert torch.allclose(plain["action"], through["action"], atol=1e-6)


def test_a_graph_leads_to_the_actor_and_leaves_the_world_alone() -> None:
    agent = tiny.agent()
    noise = torch.rand(5, 6, agent.noise_size, generator=torch.Generator().manual_seed(1))
    dream = _through(agent, noise)
    dream["feat"][:, -1].square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in agent.behavior.actor.parameters())
    assert all(p.grad is None and p.requires_grad for p in agent.world.parameters())


def test_a_graph_passes_actions_only() -> None:
    """Decisions see states as data, so actions are the gradient's only way."""
    agent = tiny.agent()
    actor, seen = agent.behavior.actor, []
    actor.register_forward_pre_hook(lambda module, args: seen.append(args[0].requires_grad))
    noise = torch.rand(5, 6, agent.noise_size, generator=torch.Generator().manual_seed(1))
    _through(agent, noise)
    assert seen == [False] * 5


def test_the_true_start_replaces_the_first_prediction() -> None:
    predicted = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    cont = with_true_start(predicted, torch.tensor([0.0, 0.9]))
    assert torch.equal(cont, torch.tensor([[0.0, 0.2, 0.3], [0.9, 0.5, 0.6]]))


def test_a_dream_in_bfloat16_is_rounded_once() -> None:
    """Networks say of rounded states what they say of those they round themselves."""
    agent = tiny.agent(lambda cfg: setattr(cfg, "precision", "bfloat16"))
    rssm, actor, world = agent.world.rssm, agent.behavior.actor, agent.world
    noise = torch.rand(5, 6, agent.noise_size, generator=torch.Generator().manual_seed(1))
    with agent.autocast():
        (deter, stoch), dream = _dream(agent, noise)
        feat = rssm.feat(deter, stoch)
        assert feat.dtype == torch.float32 and dream["feat"].dtype == torch.bfloat16
        action = actor(feat).sample(noise[0, :, 4:])
        assert torch.equal(dream["action"][:, 0], action)
        for of_rounded, of_own in zip(
            world.judge(dream["feat"][:, 0]), world.judge(feat), strict=True
        ):
            assert torch.equal(of_rounded, of_own)
