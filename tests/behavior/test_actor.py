"""Policies over several keys."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.ops.continuous import (
    BoundedNormal,
    TanhNormal,
    TruncatedNormal,
    UnboundedNormal,
)
from dreamer_plugin.ops.distributions import Categorical
from dreamer_plugin.spaces import ActionKey

KEYS = [
    ActionKey("grip", "discrete", (2,), 3),
    ActionKey("move", "continuous", (2,)),
    ActionKey("tool", "discrete", (), 4),
]
SIZE = 2 * 3 + 2 + 4


@pytest.fixture
def actor() -> Actor:
    torch.manual_seed(0)
    return Actor(MLP(5, 1, 8), KEYS, outscale=1.0)


def test_sizes(actor: Actor) -> None:
    assert actor.noise_size == 2 + 2 + 1
    policy = actor(torch.randn(3, 4, 5))
    action = policy.sample(torch.rand(3, 4, actor.noise_size))
    assert action.shape == policy.mode().shape == (3, 4, SIZE)
    assert policy.logp(action).shape == policy.entropy().shape == (3, 4)


def test_samples_are_encoded_in_order(actor: Actor) -> None:
    action = actor(torch.randn(100, 5)).sample(torch.rand(100, actor.noise_size))
    grip, move, tool = action.split([6, 2, 4], -1)
    for onehot in (grip.unflatten(-1, (2, 3)), tool):
        assert torch.equal(onehot.sum(-1), torch.ones(onehot.shape[:-1]))
        assert ((onehot == 0) | (onehot == 1)).all()
    assert move.abs().max() > 1  # not clipped


def test_likelihood_and_entropy_are_summed_over_keys_and_dimensions(actor: Actor) -> None:
    policy = actor(torch.randn(7, 5))
    action = policy.sample(torch.rand(7, actor.noise_size))
    grip, move, tool = policy.parts
    by_hand = (
        (grip.logprobs * action[:, :6].unflatten(-1, (2, 3))).sum((-2, -1))
        + torch.distributions.Normal(move.mean, move.std).log_prob(action[:, 6:8]).sum(-1)
        + (tool.logprobs.squeeze(-2) * action[:, 8:]).sum(-1)
    )
    assert torch.allclose(policy.logp(action), by_hand, atol=1e-5)
    entropy = grip.entropy().sum(-1) + move.entropy().sum(-1) + tool.entropy().sum(-1)
    assert torch.allclose(policy.entropy(), entropy)


def test_each_key_has_its_own_noise(actor: Actor) -> None:
    policy, noise = actor(torch.randn(1, 5)), torch.full((1, actor.noise_size), 0.5)
    other = noise.clone()
    other[:, 2] = 0.9  # the first number of `move`
    one, two = policy.sample(noise), policy.sample(other)
    assert torch.equal(one[:, :6], two[:, :6]) and torch.equal(one[:, 7:], two[:, 7:])
    assert one[0, 6] < two[0, 6]


def test_the_same_noise_gives_the_same_action(actor: Actor) -> None:
    feat, noise = torch.randn(3, 5), torch.rand(3, actor.noise_size)
    assert torch.equal(actor(feat).sample(noise), actor(feat).sample(noise))


def test_outscale_makes_a_fresh_policy_nearly_uniform() -> None:
    torch.manual_seed(0)
    policy = Actor(MLP(5, 1, 8), KEYS, outscale=0.01)(torch.randn(50, 5))
    grip, move, tool = policy.parts
    assert (tool.probs - 0.25).abs().max() < 0.02 and (grip.probs - 1 / 3).abs().max() < 0.02
    assert move.mean.abs().max() < 0.05


def test_unimix_reaches_discrete_keys_only() -> None:
    actor = Actor(MLP(5, 0, 8), KEYS, outscale=100.0, unimix=0.1)
    policy = actor(torch.randn(20, 5))
    assert policy.parts[2].probs.min().item() == pytest.approx(0.1 / 4, rel=1e-3)
    assert policy.parts[1].std.min() >= 0.1


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("bounded_normal", BoundedNormal),
        ("tanh_normal", TanhNormal),
        ("trunc_normal", TruncatedNormal),
        ("normal", UnboundedNormal),
    ],
)
def test_the_output_of_continuous_keys_is_chosen(output: str, kind: type) -> None:
    torch.manual_seed(0)
    actor = Actor(MLP(5, 1, 8), KEYS, outscale=1.0, output=output)
    policy, noise = actor(torch.randn(7, 5)), torch.rand(7, actor.noise_size)
    assert [type(part) for part in policy.parts] == [Categorical, kind, Categorical]
    action = policy.sample(noise)
    assert action.shape == policy.mode().shape == (7, SIZE)
    assert policy.logp(action).isfinite().all() and policy.entropy().shape == (7,)
    action[:, 6:8].sum().backward()
    assert all(layer.weight.grad.any() for layer in actor.heads[1])


def test_an_unknown_output_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"behavior.actor.output 'tanh'.*mean 'tanh_normal'"):
        Actor(MLP(5, 1, 8), KEYS, output="tanh")
    with pytest.raises(UsageError, match=r"min_std is 2, but behavior.actor.max_std 1: set 1 or"):
        Actor(MLP(5, 1, 8), KEYS, min_std=2.0)
    with pytest.raises(UsageError, match=r"init_std is 0\.0, but must be above 0"):
        Actor(MLP(5, 1, 8), KEYS, output="tanh_normal", init_std=0.0)


def test_a_zeroed_tanh_policy_has_the_initial_std() -> None:
    """DreamerV1: 5 above the least, 0.0001; the mean is 0."""
    actor = Actor(
        MLP(5, 1, 8), KEYS, outscale=0.0, min_std=1e-4, output="tanh_normal", init_std=5.0
    )
    move = actor(torch.randn(7, 5)).parts[1]
    assert torch.allclose(move.before.std, torch.tensor(5.0001), atol=1e-6)
    assert not move.before.mean.any()


def test_a_truncated_policy_begins_at_one_above_the_least_std() -> None:
    """DreamerV2: 2 sigmoid(0) + 0.1."""
    actor = Actor(MLP(5, 1, 8), KEYS, outscale=0.0, min_std=0.1, output="trunc_normal")
    assert torch.allclose(actor(torch.randn(7, 5)).parts[1].whole.std, torch.tensor(1.1))
