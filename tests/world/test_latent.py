"""Gaussian latents, and categorical ones with the gradient of a Gumbel softmax."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from dreamer_plugin.errors import UsageError
from dreamer_plugin.ops.distributions import gumbel_one_hot
from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent, GaussianLatent
from dreamer_plugin.world.rssm import RSSM

B, T, E, A, S, K = 3, 6, 5, 2, 4, 3


def normal(params: torch.Tensor) -> Independent:
    return Independent(Normal(*params.chunk(2, -1)), 1)


@pytest.mark.parametrize(
    ("std", "expected"),
    [
        ("softplus", [0.1, 0.1 + math.log(2), 60.1]),  # V1: softplus(raw) + 0.1
        ("sigmoid2", [0.1, 1.1, 2.1]),  # V2: 2 sigmoid(raw / 2) + 0.1
    ],
)
def test_parameters_are_mean_then_standard_deviation(std: str, expected: list[float]) -> None:
    raw = torch.tensor([[7.0, -8.0, 9.0, -60.0, 0.0, 60.0]])
    params = GaussianLatent(3, 0.1, std).params(raw)
    assert params[0, :3].tolist() == [7.0, -8.0, 9.0]
    assert params[0, 3:].tolist() == pytest.approx(expected)


def test_divergence_and_entropy_are_those_of_torch() -> None:
    latent = GaussianLatent(S)
    p, q = latent.params(torch.randn(B, T, 2 * S)), latent.params(torch.randn(B, T, 2 * S))
    assert torch.allclose(latent.kl(p, q), kl_divergence(normal(p), normal(q)), atol=1e-5)
    assert torch.allclose(latent.entropy(p), normal(p).entropy(), atol=1e-5)
    assert torch.equal(latent.mode(p), normal(p).mean)


def test_a_draw_is_reparameterised() -> None:
    """Noise 0.5 is the mean, 0.8413 one standard deviation above."""
    latent = GaussianLatent(2)
    params = torch.tensor([[1.0, -2.0, 0.5, 3.0]], requires_grad=True)
    draw = latent.sample(params, torch.tensor([[0.5, 0.841344746]]))
    assert draw.tolist() == [pytest.approx([1.0, 1.0], abs=1e-5)]
    (grad,) = torch.autograd.grad(draw.sum(), params)
    assert grad.tolist() == [pytest.approx([1.0, 1.0, 0.0, 1.0], abs=1e-5)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("std", ["softplus", "sigmoid2"])
def test_nothing_overflows_at_extremes(std: str, dtype: torch.dtype) -> None:
    latent, raw = GaussianLatent(S, 0.1, std), torch.tensor([-50.0, 0.0, 50.0])
    corners = torch.cartesian_prod(raw, raw).repeat_interleave(S, -1).to(dtype).requires_grad_()
    params = latent.params(corners)
    other = params.flip(0)
    for noise in (0.0, 1 - 2.0**-24):
        draw = latent.sample(params, torch.full((9, S), noise))
        for value in (draw, latent.kl(params, other), latent.entropy(params)):
            assert value.dtype == torch.float32 and value.isfinite().all()
            (grad,) = torch.autograd.grad(value.sum(), corners, retain_graph=True)
            assert grad.isfinite().all()


def test_replay_keeps_samples_as_they_are() -> None:
    latent = GaussianLatent(S)
    stoch = latent.sample(latent.params(torch.randn(B, T, 2 * S)), torch.rand(B, T, S))
    stored = latent.to_storage(stoch)
    assert stored.dtype == latent.storage_dtype == torch.float32
    assert stored.shape == (B, T, *latent.storage_shape)
    assert torch.equal(latent.from_storage(stored), stoch)


@pytest.mark.parametrize(
    "latent", [GaussianLatent(S), CategoricalLatent(S, K, gradient="gumbel", gumbel_tau=0.5)]
)
def test_a_model_filters_and_dreams_with_it(latent: GaussianLatent | CategoricalLatent) -> None:
    torch.manual_seed(0)
    flat = math.prod(latent.shape)
    rssm = RSSM(BlockGRU(16, flat, A, 8, blocks=2), latent, E, 8)
    assert (rssm.feat_size, rssm.noise_size) == (16 + flat, math.prod(latent.noise_shape))
    noise = torch.rand(B, T, *latent.noise_shape)
    is_first = torch.zeros(B, T, dtype=torch.bool)
    embed, action = torch.randn(B, T, E, requires_grad=True), torch.randn(B, T, A)
    states = rssm.observe(embed, action, is_first, rssm.initial(B), noise)
    assert states["feat"].shape == (B, T, 16 + flat)
    states["stoch"][:, -1].square().sum().backward()
    assert embed.grad[:, -1].any() and embed.grad[:, 0].any()
    losses = rssm.kl(states)
    assert losses["dyn"].shape == (B, T) and losses["dyn"].isfinite().all()
    deter, stoch = (states[name][:, -1].detach() for name in ("deter", "stoch"))
    chosen = torch.randn(B, A, requires_grad=True)
    _, stoch = rssm.imagine_step(deter, stoch, chosen, noise[:, 0])
    assert stoch.shape == (B, *latent.shape)
    assert torch.autograd.grad(stoch.square().sum(), chosen)[0].any()


def test_gumbel_draws_see_the_mixed_probabilities() -> None:
    latent = CategoricalLatent(S, K, unimix=0.5, gradient="gumbel", gumbel_tau=0.5)
    raw, noise = torch.randn(B, S * K), torch.rand(B, S, K)
    mixed = torch.log(0.5 * raw.unflatten(-1, (S, K)).softmax(-1) + 0.5 / K)
    assert torch.equal(
        latent.sample(latent.params(raw), noise), gumbel_one_hot(mixed, noise, tau=0.5)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianLatent(S, std="softmax"), "world.latent.std 'softmax'.*'softplus'"),
        (lambda: GaussianLatent(S, min_std=0.0), r"world.latent.min_std is 0\.0"),
        (lambda: CategoricalLatent(S, K, gradient="gumble"), "latent.gradient.*mean 'gumbel'"),
        (lambda: CategoricalLatent(S, K, gumbel_tau=0.0), r"gumbel_tau is 0\.0, but must"),
    ],
)
def test_values_that_cannot_work_are_named(make, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
