"""Pure functions: squashing, two-hot, divergences, returns, normalisers.

Numbers of cases are those of TorchRL's own tests that these answer to (torchrl 0.14.1).
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchrl.modules import PercentileValueNorm, SymExpTwoHot
from torchrl.modules.functional import symexp as their_symexp
from torchrl.modules.functional import symlog as their_symlog
from torchrl.objectives import (
    categorical_kl_balanced,
    categorical_kl_terms,
    two_hot_cross_entropy,
    two_hot_encode,
)
from torchrl.objectives.dreamer import DreamerModelLoss
from torchrl.objectives.value.functional import (
    td_lambda_return_estimate,
    vec_td_lambda_return_estimate,
)

from dreamer_plugin.behavior.normalize import Percentile
from dreamer_plugin.ops.distributions import mix_uniform
from dreamer_plugin.ops.divergence import (
    balanced_kl,
    categorical_kl,
    categorical_kl_each,
    normal_kl,
)
from dreamer_plugin.ops.returns import replay_returns
from dreamer_plugin.ops.scaling import symexp, symexp_bins, symlog
from dreamer_plugin.ops.two_hot import TwoHot

from .torchrl_parts import same


def random(*shape: int, seed: int = 0, grad: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).requires_grad_(grad)


def test_symlog_and_symexp() -> None:
    x = torch.cat([torch.linspace(-20, 20, 81), random(50) * 1e-3])
    same(symlog(x), their_symlog(x))
    same(symexp(x), their_symexp(x))
    same(symexp(symlog(x)), x)
    same(symlog(symexp(x)), x)


def test_symlog_is_flat_at_zero_as_in_the_official_code() -> None:
    """A difference: TorchRL repairs the slope at 0, where `sign(0) = 0`; JAX and we leave it.

    We squash targets only, which carry no gradient.
    """
    slopes = []
    for squash in (symlog, their_symlog):
        x = torch.zeros((), requires_grad=True)
        (slope,) = torch.autograd.grad(squash(x), x)
        slopes.append(slope.item())
    assert slopes == [0, 1]


@pytest.mark.parametrize("count", [255, 41, 3])
def test_bins(count: int) -> None:
    torch.testing.assert_close(symexp_bins(count), SymExpTwoHot(count).bins, rtol=2e-6, atol=0)


def test_an_even_number_of_bins_differs() -> None:
    """We hold zero twice, as the official code; TorchRL spaces the bins evenly around zero."""
    assert symexp_bins(4).tolist() == pytest.approx([-4.8516520e8, 0, 0, 4.8516520e8])
    assert SymExpTwoHot(4).bins[2] == pytest.approx(784.7713, rel=1e-5)  # symexp(20 / 3), by hand


def test_two_hot_by_hand() -> None:
    """0.25 between 0 and 1 is three quarters of the one, one quarter of the other."""
    bins, logits = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0.1, 0.2, 0.3])
    assert two_hot_encode(torch.tensor(0.25), bins).tolist() == [0, 0.75, 0.25]
    by_hand = logits.logsumexp(-1) - 0.75 * 0.2 - 0.25 * 0.3
    same(TwoHot(logits, bins).loss(torch.tensor(0.25)), by_hand)


def test_two_hot_loss_gradient_and_prediction() -> None:
    bins = symexp_bins(255)
    on_and_beyond = torch.tensor([0.0, float(bins[200]), float(bins[-1]), 1e9, -1e12, 1e-6])
    target = torch.cat([on_and_beyond, 100 * random(58)])
    grads = []
    values = []
    for loss in (
        lambda logits: TwoHot(logits, bins).loss(target),
        lambda logits: two_hot_cross_entropy(logits, target, bins),
    ):
        logits = random(64, 255, grad=True)
        values.append(loss(logits))
        grads.append(torch.autograd.grad(values[-1].sum(), logits)[0])
    same(*values)
    same(*grads)
    logits = random(64, 255)
    ours, theirs = TwoHot(logits, bins).pred(), SymExpTwoHot(255).decode(logits)
    # The outer bins are 5e8: rounding is relative to them, not to their difference.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7 * float(bins[-1]))
    narrow = logits - 0.2 * torch.linspace(-20, 20, 255).abs() ** 2
    same(TwoHot(narrow, bins).pred(), SymExpTwoHot(255).decode(narrow))


@pytest.mark.parametrize("free", [0.0, 1.0, 5.0])
def test_categorical_kl(free: float) -> None:
    """Both halves, their gradients, and the floor after the sum over categoricals."""
    found = []
    for ours in (True, False):
        post, prior = random(6, 5, 4, 3, grad=True), random(6, 5, 4, 3, seed=1, grad=True)
        if ours:
            params = mix_uniform(post, 0.01), mix_uniform(prior, 0.01)
            dyn, rep = (x.mean() for x in balanced_kl(categorical_kl, *params, free))
        else:
            dyn, rep = categorical_kl_terms(post, prior, free, 0.01)
        grads = [
            torch.autograd.grad(half, leaf, retain_graph=True, allow_unused=True)[0]
            for half in (dyn, rep)
            for leaf in (post, prior)
        ]
        assert grads[0] is None and grads[3] is None  # dyn stops at post, rep at prior
        found.append([dyn, rep, grads[1], grads[2]])
    for ours_value, their_value in zip(*found, strict=True):
        same(ours_value, their_value)


def test_the_default_kl_of_their_model_loss_is_another() -> None:
    """A difference: `kl_mode="balanced"` floors each categorical and takes their mean.

    The official code and `kl_mode="separate"` floor the sum. Four categoricals of 1.36 nats each
    (2 (p0 - p1) by hand) are 5.4 together: with a floor of 2, one is stuck and the other trains.
    """
    post = torch.tensor([2.0, 0, 0]).repeat(8, 4, 1).requires_grad_()
    prior = torch.tensor([0, 2.0, 0]).repeat(8, 4, 1)
    theirs = categorical_kl_balanced(post, prior, free_bits=2.0)
    assert theirs == 2
    assert not torch.autograd.grad(theirs, post)[0].any()
    params = mix_uniform(post, 0.01), mix_uniform(prior, 0.01)
    _, rep = balanced_kl(categorical_kl, *params, 2.0)
    same(rep, torch.full((8,), 5.3), 0.1)  # the uniform share takes a little
    assert torch.autograd.grad(rep.sum(), post)[0].any()


def test_free_nats_for_each_variable_are_that_default() -> None:
    found = []
    for ours in (True, False):
        post, prior = random(6, 4, 3, grad=True), random(6, 4, 3, seed=1, grad=True)
        if ours:
            params = post.log_softmax(-1), prior.log_softmax(-1)
            dyn, rep = balanced_kl(categorical_kl_each, *params, 0.5, "variable")
            loss = (0.8 * dyn + 0.2 * rep).mean()
        else:
            loss = categorical_kl_balanced(post, prior, 0.8, free_bits=0.5)
        found.append([loss, *torch.autograd.grad(loss, (post, prior))])
    for ours_value, their_value in zip(*found, strict=True):
        same(ours_value, their_value)


@pytest.mark.parametrize("free", [0.0, 3.0])
def test_gaussian_kl(free: float) -> None:
    """V1's divergence, with free nats for each element.

    Our loss has two halves of one value each: its gradient is that of their single term.
    """
    loss = DreamerModelLoss(
        nn.Sequential(nn.Sequential(nn.Identity()), nn.Identity()), free_nats=free
    )
    raw = random(6, 5, 4, 4)
    found = []
    for ours in (True, False):
        leaves = (raw * torch.tensor([1.0, 0.5]).repeat(2)).requires_grad_()
        mean, std = leaves[..., :2], nn.functional.softplus(leaves[..., 2:]) + 0.1
        post, prior = (torch.cat([mean[:, i], std[:, i]], -1) for i in (slice(0, 2), slice(2, 4)))
        if ours:
            dyn, rep = balanced_kl(_gaussian_kl, post, prior, free)
            same(dyn, rep)
            value, total = dyn.mean(), (dyn + rep).mean()
        else:
            value = total = loss.kl_loss(*prior.chunk(2, -1), *post.chunk(2, -1))
        found.append([value, torch.autograd.grad(total, leaves)[0]])
    for ours_value, their_value in zip(*found, strict=True):
        same(ours_value, their_value)


def _gaussian_kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return normal_kl(*p.chunk(2, -1), *q.chunk(2, -1)).sum(-1)


@pytest.mark.parametrize("estimate", [vec_td_lambda_return_estimate, td_lambda_return_estimate])
def test_replay_returns(estimate: object) -> None:
    """TorchRL takes the first form eagerly, the second where it compiles; ours is one."""
    reward, bootstrap = random(3, 9), random(3, 9, seed=1)
    is_last = torch.zeros(3, 9, dtype=torch.bool)
    is_last[0, 3] = is_last[1, 5] = is_last[1, 6] = is_last[2, 8] = True
    terminal = is_last.clone()
    terminal[1, 5] = terminal[2, 8] = False  # ended by a limit
    ours = replay_returns(reward, is_last, terminal, bootstrap, 1 - 1 / 333, 0.95)
    theirs = estimate(
        gamma=1 - 1 / 333,
        lmbda=0.95,
        next_state_value=bootstrap[:, 1:, None],
        reward=reward[:, 1:, None],
        done=is_last[:, 1:, None],
        terminated=terminal[:, 1:, None],
    )
    same(ours, theirs.squeeze(-1))
    # By hand: arriving at a terminal frame leaves its reward, at a truncated one the bootstrap too.
    same(ours[0, 2], reward[0, 3])
    same(ours[1, 4], reward[1, 5] + (1 - 1 / 333) * bootstrap[1, 5])


def test_return_normaliser() -> None:
    """5th to 95th percentile, moving average, floor of one; and it goes on from a checkpoint."""
    ours, theirs = Percentile(rate=0.1), PercentileValueNorm(rate=0.1)
    for i in range(12):
        if i == 6:
            again, state = Percentile(rate=0.1), ours.state_dict()
            again.load_state_dict(state)
            ours = again
        returns = random(64, 15, seed=i) * 3**i / 100
        _, scale = ours(returns)
        theirs.update(returns[..., None])
        same(scale, theirs.scale().squeeze())
        if i == 0:
            assert scale == 1, "small returns are not blown up"
    assert scale > 1
    same(ours.first, theirs.low.squeeze())
    same(ours.second, theirs.high.squeeze())
