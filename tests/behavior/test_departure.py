"""The losses of V1 and V2: which states and decisions they take, and what the gradient is of.

Expected values are written out from the formulas of danijar/dreamer @ 56d4d444 and
danijar/dreamerv2 @ 07d906e9, index by index, on a dream of H = 4 steps.
"""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.agent import Agent
from dreamer_plugin.config.schema import Config

from .. import tiny

H, GAMMA, LAMBDA = 4, 0.9, 0.95


def _agent(returns: str, gradient: str, **actor: object) -> Agent:
    def change(cfg: Config) -> None:
        behavior = cfg.behavior
        behavior.returns, behavior.horizon, behavior.cont_discount = returns, 10, False
        behavior.actor.gradient, behavior.actor.dynamics_baseline = gradient, False
        behavior.return_norm.kind, behavior.critic.output = "none", "mse"
        behavior.critic.slow_reg = 0.0
        for name, value in actor.items():
            setattr(behavior.actor, name, value)

    return tiny.agent(change)


def _dream(agent: Agent) -> tuple[TensorDict, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    dream = {
        "feat": torch.randn(3, H + 1, agent.world.rssm.feat_size, generator=rng),
        "action": tiny.batch(3, H)["action"],
    }
    reward, cont = torch.randn(3, H + 1, generator=rng), torch.rand(3, H + 1, generator=rng)
    return TensorDict(dream, [3, H + 1]), reward, cont


def _returns(reward: Tensor, cont: Tensor, value: Tensor) -> list[Tensor]:
    """R[i], i = 0 to H, from the last to the first."""
    ret = [value[:, H]]
    for i in reversed(range(H)):
        mixed = (1 - LAMBDA) * value[:, i + 1] + LAMBDA * ret[0]
        ret.insert(0, reward[:, i] + GAMMA * cont[:, i] * mixed)
    return ret


def _policy(agent: Agent, dream: TensorDict, i: int) -> tuple[Tensor, Tensor]:
    """Log-probability of the decision at state i, and entropy there."""
    policy = agent.behavior.actor(dream["feat"][:, i])
    return policy.logp(dream["action"][:, i]), policy.entropy()


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_the_losses_of_v2(share: float) -> None:
    gradient = {0.0: "reinforce", 0.1: "mixed"}[share]
    agent = _agent("departure", gradient, mix=0.1, entropy=0.01)
    dream, reward, cont = _dream(agent)
    losses, ret, _ = agent.behavior.dream_losses(dream, reward, cont)
    with torch.no_grad():
        value = agent.behavior.critic(dream["feat"]).pred()
    expected = _returns(reward, cont, value)
    assert torch.allclose(ret, torch.stack(expected[:H], 1), atol=1e-5)
    weight = [torch.ones(3)]
    for i in range(H):
        weight.append(weight[-1] * GAMMA * cont[:, i])
    policy = []
    for i in range(H - 1):
        logp, entropy = _policy(agent, dream, i)
        gain = share * expected[i + 1] + (1 - share) * logp * (expected[i + 1] - value[:, i])
        policy.append(-weight[i] * (gain + 0.01 * entropy))
    assert torch.allclose(losses["policy"], torch.stack(policy, 1), atol=1e-4)
    missed = [weight[i] * (value[:, i] - expected[i]) ** 2 for i in range(H)]
    assert torch.allclose(losses["value"], torch.stack(missed, 1), atol=1e-4)


def test_the_losses_of_v1() -> None:
    """The dream is s1 to sH: its own first weight is 1, and the start is not learned."""
    agent = _agent("departure_after_start", "dynamics", entropy=0.0)
    dream, reward, cont = _dream(agent)
    losses, ret, _ = agent.behavior.dream_losses(dream, reward, cont)
    with torch.no_grad():
        value = agent.behavior.critic(dream["feat"]).pred()
    expected = _returns(reward, cont, value)
    assert torch.allclose(ret, torch.stack(expected[1:H], 1), atol=1e-5)
    weight = torch.ones(3)
    for i in range(1, H):
        policy, missed = losses["policy"][:, i - 1], losses["value"][:, i - 1]
        assert torch.allclose(policy, -weight * expected[i], atol=1e-5)
        assert torch.allclose(missed, weight * (value[:, i] - expected[i]) ** 2, atol=1e-4)
        weight = weight * GAMMA * cont[:, i]


@pytest.mark.parametrize("returns", ["departure", "departure_after_start"])
def test_the_first_reward_teaches_no_decision(returns: str) -> None:
    """No dreamed action leads to the start, and the last action leads nowhere."""
    agent = _agent(returns, "reinforce")
    dream, reward, cont = _dream(agent)
    before = agent.behavior.dream_losses(dream, reward, cont)[0]["policy"]
    other, reward = dream.clone(), reward.clone()
    reward[:, 0] += 5
    other["action"][:, H - 1 :] = 0
    after = agent.behavior.dream_losses(other, reward, cont)[0]["policy"]
    assert torch.equal(before, after)
    swapped = dream.clone()
    swapped["action"][:, :2] = dream["action"][:, :2].flip(1)  # guards the alignment
    moved = agent.behavior.dream_losses(swapped, reward, cont)[0]["policy"]
    assert not torch.allclose(before[:, :2], moved[:, :2])
    assert torch.equal(before[:, 2:], moved[:, 2:])


def test_the_actor_learns_through_the_dynamics_alone() -> None:
    """A gradient reaches the actor only if states depend on actions."""
    for detached in (False, True):
        agent = _agent("departure_after_start", "dynamics", entropy=0.0)
        if detached:
            core = agent.world.rssm.core
            embed = core.embed_action
            core.embed_action = lambda action, embed=embed: embed(action.detach())
        losses = agent.losses(agent.unroll_context(tiny.batch())).each
        if detached:
            assert not losses["policy"].requires_grad
            continue
        losses["policy"].mean().backward()
        grads = [p.grad for p in agent.behavior.actor.parameters()]
        assert all(grad is not None and bool(grad.any()) for grad in grads)
        assert all(p.grad is None for p in agent.world.parameters())
        assert all(p.grad is None for p in agent.behavior.critic.parameters())
