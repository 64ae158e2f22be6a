"""Losses of the world model: targets, and which parts they train."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dreamer_plugin.agent import Agent
from dreamer_plugin.config.schema import Config

from .. import tiny


def _losses(agent: Agent) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    batch = agent.unroll_context(tiny.batch())
    noise = torch.rand(3, 5, *agent.world.rssm.latent.noise_shape)
    states = agent.world.observe(batch, noise)
    return agent.world.losses(states, batch)


def _trained(module: nn.Module) -> bool:
    grads = [p.grad for p in module.parameters()]
    return any(grad is not None and bool(grad.any()) for grad in grads)


def test_every_loss_is_per_step() -> None:
    losses = _losses(tiny.agent())
    assert losses.keys() == {"vector", "reward", "cont", "dyn", "rep"}
    assert {tuple(loss.shape) for loss in losses.values()} == {(3, 5)}


@pytest.mark.parametrize(("name", "section"), [("reward", "reward"), ("cont", "cont")])
@pytest.mark.parametrize("grad", [True, False])
def test_head_losses_train_the_model_if_told_so(name: str, section: str, grad: bool) -> None:
    def change(cfg: Config) -> None:
        getattr(cfg.world, section).grad = grad

    agent = tiny.agent(change)
    _losses(agent)[name].sum().backward()
    world = agent.world
    assert _trained(world.get_submodule(name))
    assert _trained(world.rssm) is grad and _trained(world.encoder) is grad
    assert not _trained(world.decoder)


@pytest.mark.parametrize("name", ["dyn", "rep"])
def test_only_the_dynamics_half_trains_the_prior(name: str) -> None:
    agent = tiny.agent(lambda cfg: setattr(cfg.world, "free_nats", 0.0))
    _losses(agent)[name].sum().backward()
    assert _trained(agent.world.rssm.prior) is (name == "dyn")
    assert _trained(agent.world.rssm.core)


@pytest.mark.parametrize(("learned", "alive"), [(True, 1 - 1 / 333), (False, 1.0)])
def test_continuation_targets(learned: bool, alive: float) -> None:
    """The head learns the discount where the dream's returns have none (official contdisc)."""

    def change(cfg: Config) -> None:
        cfg.behavior.cont_discount = learned

    agent = tiny.agent(change)
    batch = agent.unroll_context(tiny.batch())
    batch["is_terminal"][0, 2] = True
    states = agent.world.observe(batch, torch.rand(3, 5, 4))
    prob = agent.world.outputs(states)["cont"].pred()
    loss = agent.world.losses(states, batch)["cont"]
    target = torch.full((3, 5), alive)
    target[0, 2] = 0.0
    expected = -(target * prob.log() + (1 - target) * (1 - prob).log())
    assert torch.allclose(loss, expected, atol=1e-5)


@pytest.mark.parametrize("graph", [True, False])
def test_judging_dreams_trains_no_head(graph: bool) -> None:
    """Gradients reach a dream that has a graph; without one there is none at all."""
    agent = tiny.agent()
    feat = torch.randn(2, 3, agent.world.rssm.feat_size, requires_grad=graph)
    reward, cont = agent.world.judge(feat)
    assert reward.shape == cont.shape == (2, 3)
    assert reward.requires_grad is cont.requires_grad is graph
    if graph:
        (reward.sum() + cont.sum()).backward()
        assert bool((feat.grad != 0).all())
    assert all(p.grad is None and p.requires_grad for p in agent.world.parameters())
