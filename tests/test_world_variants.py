"""Forms of the world model that older descriptions have: each is a value of the config.

Every expectation is the form's formula, written out here with torch's own distributions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from dreamer_plugin.agent import Agent
from dreamer_plugin.config.schema import Config
from dreamer_plugin.errors import UsageError

from . import tiny


def change(**values: Any) -> Callable[[Config], None]:
    """A change of a config: `world__free_nats=3.0`."""

    def apply(cfg: Config) -> None:
        for name, value in values.items():
            *sections, key = name.split("__")
            part: Any = cfg
            for section in sections:
                part = getattr(part, section)
            assert hasattr(part, key), name
            setattr(part, key, value)

    return apply


def kl_part(agent: Agent, post: Tensor, prior: Tensor) -> Tensor:
    """The share of the KL losses in the total."""
    losses = agent.world.rssm.kl({"post": post, "prior": prior})
    return sum(agent.scales[name] * loss.mean() for name, loss in losses.items())


def kl(p: Tensor, q: Tensor) -> Tensor:
    """`KL(p || q)` of log-probabilities `[B, T, S, K]`, for each variable `[B, T, S]`."""
    return kl_divergence(Categorical(logits=p), Categorical(logits=q))


def stopped(q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """What trains the prior p and what trains the posterior q, `[B, T]`."""
    return kl(q.detach(), p).sum(-1), kl(q, p.detach()).sum(-1)


def balanced(q: Tensor, p: Tensor, a: float, free: float) -> Tensor:
    dyn, rep = stopped(q, p)
    return (a * dyn.clamp(min=free) + (1 - a) * rep.clamp(min=free)).mean()


def of_the_mean(q: Tensor, p: Tensor, a: float, free: float) -> Tensor:
    dyn, rep = stopped(q, p)
    return a * dyn.mean().clamp(min=free) + (1 - a) * rep.mean().clamp(min=free)


def two_way(q: Tensor, p: Tensor, a: float, free: float) -> Tensor:
    ahead, back = kl(q, p).sum(-1), kl(p, q).sum(-1)
    return (a * ahead.clamp(min=free) + (1 - a) * back.clamp(min=free)).mean()


def per_variable(q: Tensor, p: Tensor, a: float, free: float) -> Tensor:
    dyn, rep = kl(q.detach(), p).clamp(min=free), kl(q, p.detach()).clamp(min=free)
    return (a * dyn + (1 - a) * rep).mean()


KL_ROWS = {
    "balanced": (
        {"loss_scales__dyn": 0.8, "loss_scales__rep": 0.2, "world__free_nats": 1.0},
        lambda q, p: balanced(q, p, 0.8, 1.0),
    ),
    "balanced, the larger share on the posterior": (
        {"loss_scales__dyn": 0.2, "loss_scales__rep": 0.8, "world__free_nats": 3.0},
        lambda q, p: balanced(q, p, 0.2, 3.0),
    ),
    "balanced, nats free for the mean": (
        {"loss_scales__dyn": 0.8, "loss_scales__rep": 0.2, "world__free_over": "mean"},
        lambda q, p: of_the_mean(q, p, 0.8, 1.0),
    ),
    "both directions": (
        {"loss_scales__dyn": 0.8, "loss_scales__rep": 0.2, "world__kl": "forward_reverse"},
        lambda q, p: two_way(q, p, 0.8, 1.0),
    ),
    "plain, nats free for the mean": (
        {"world__kl": "plain", "world__free_over": "mean", "loss_scales__dyn": 2.0},
        lambda q, p: 2.0 * kl(q, p).sum(-1).mean().clamp(min=1.0),
    ),
    "plain, nats free for each step": (
        {"world__kl": "plain"},
        lambda q, p: kl(q, p).sum(-1).clamp(min=1.0).mean(),
    ),
    "nats free for each variable": (
        {
            "loss_scales__dyn": 0.8,
            "loss_scales__rep": 0.2,
            "world__free_over": "variable",
            "world__free_nats": 0.3,
        },
        lambda q, p: per_variable(q, p, 0.8, 0.3),
    ),
}


@pytest.mark.parametrize("row", KL_ROWS)
@pytest.mark.parametrize("spread", [1.0, 0.1], ids=["far", "near"])
def test_kl_losses_have_the_value_and_gradients_of_their_formula(row: str, spread: float) -> None:
    """Far apart, most divergences are above the free nats; near each other all are below."""
    values, formula = KL_ROWS[row]
    agent = tiny.agent(change(**values))
    rng = torch.Generator().manual_seed(0)
    q, p = (torch.randn(3, 5, 4, 4, generator=rng).mul(spread).requires_grad_() for _ in "qp")
    seen = []
    for loss in (
        kl_part(agent, torch.log_softmax(q, -1), torch.log_softmax(p, -1)),
        formula(q, p),
    ):
        grads = torch.autograd.grad(loss, (q, p), allow_unused=True)
        seen.append((loss, *(torch.zeros_like(q) if g is None else g for g in grads)))
    for ours, theirs in zip(*seen, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)
    assert bool(seen[0][1].any()) is (spread == 1.0)  # the floor cuts gradients, and only then


def test_nats_free_for_each_variable_of_a_gaussian_state() -> None:
    cfg = {"world__latent__kind": "gaussian", "world__free_over": "variable"}
    agent = tiny.agent(change(**cfg, world__free_nats=0.5, world__kl="plain"))
    params = [torch.cat([torch.randn(3, 5, 4), 0.5 + torch.rand(3, 5, 4)], -1) for _ in "qp"]
    loss = agent.world.rssm.kl(dict(zip(("post", "prior"), params, strict=True)))["dyn"]
    each = kl_divergence(*(Normal(*x.chunk(2, -1)) for x in params))
    assert torch.allclose(loss, each.clamp(min=0.5).mean(-1), atol=1e-6)
    assert (each < 0.5).any() and (each > 0.5).any()


@pytest.mark.parametrize("kind", ["forward_reverse", "plain"])
def test_an_agent_with_another_kl_is_trained(kind: str) -> None:
    agent = tiny.agent(change(world__kl=kind))
    _, metrics = agent.update(tiny.batch())
    assert ("loss/rep" in metrics) is (kind != "plain")
    assert all(value.isfinite() for value in metrics.values())


def test_a_form_of_the_kl_that_is_none_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Unknown world\.kl 'reverse'\. Did you mean 'forward_r"):
        tiny.agent(change(world__kl="reverse"))
