"""What the losses of behavior train, and what they leave alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dreamer_plugin.agent import Agent
from dreamer_plugin.config.schema import Config

from .. import tiny


def _trained(module: nn.Module) -> bool:
    grads = [p.grad for p in module.parameters()]
    return any(grad is not None and bool(grad.any()) for grad in grads)


def _after(agent: Agent, *losses: str) -> dict[str, bool]:
    """Which parts a backward pass of some losses reaches."""
    each = agent.losses(agent.unroll_context(tiny.batch())).each
    torch.stack([each[name].mean() for name in losses]).sum().backward()
    parts = {
        "encoder": agent.world.encoder,
        "rssm": agent.world.rssm,
        "reward": agent.world.reward,
        "actor": agent.behavior.actor,
        "critic": agent.behavior.critic,
        "slow": agent.behavior.slow,
    }
    return {name: _trained(module) for name, module in parts.items()}


def test_the_policy_loss_trains_the_actor_alone() -> None:
    reached = _after(tiny.agent(), "policy")
    assert [name for name, hit in reached.items() if hit] == ["actor"]


def test_the_value_loss_trains_the_critic_alone() -> None:
    reached = _after(tiny.agent(), "value")
    assert [name for name, hit in reached.items() if hit] == ["critic"]


@pytest.mark.parametrize("grad", [True, False])
def test_the_replay_value_loss_trains_the_model_if_told_so(grad: bool) -> None:
    def change(cfg: Config) -> None:
        cfg.behavior.critic.replay_grad = grad

    reached = _after(tiny.agent(change), "repval")
    expected = ["encoder", "rssm", "critic"] if grad else ["critic"]
    assert [name for name, hit in reached.items() if hit] == expected


def test_the_value_loss_ignores_frames_before_another_episode() -> None:
    agent = tiny.agent()
    batch = tiny.batch()
    batch["is_last"][0, 3] = batch["is_first"][0, 4] = True  # columns 2 and 3 once context is off
    loss = agent.losses(agent.unroll_context(batch)).each["repval"]
    assert loss.shape == (3, 4)
    assert loss[0, 2] == 0 and (loss[1:] > 0).all() and loss[0, 1] > 0


def test_dreams_from_terminal_states_weigh_as_the_head_says() -> None:
    """A continuation head that is sure of the end makes all losses of its dreams vanish."""
    agent = tiny.agent()
    with torch.no_grad():
        agent.world.cont.layer.linear.weight.zero_()
        agent.world.cont.layer.linear.bias.fill_(-100.0)
    each = agent.losses(agent.unroll_context(tiny.batch())).each
    assert each["policy"].abs().max() < 1e-6 and each["value"].abs().max() < 1e-6


def test_the_slow_critic_pulls_only_through_its_mean() -> None:
    """Where the critic already gives the target and the slow mean, both cross entropies agree."""
    agent = tiny.agent(lambda cfg: setattr(cfg.behavior.critic, "slow_reg", 0.0))
    free = agent.losses(agent.unroll_context(tiny.batch())).each["value"]
    other = tiny.agent(lambda cfg: setattr(cfg.behavior.critic, "slow_reg", 2.0))
    pulled = other.losses(other.unroll_context(tiny.batch())).each["value"]
    assert (pulled > free).all()


def test_following_moves_the_slow_critic_only() -> None:
    agent = tiny.agent()
    tiny.disturb(agent.behavior.critic, seed=3)
    before = {k: v.clone() for k, v in agent.behavior.state_dict().items()}
    agent.behavior.follow()
    moved = [k for k, v in agent.behavior.state_dict().items() if not v.equal(before[k])]
    assert moved and all(name.startswith("slow.") for name in moved)
