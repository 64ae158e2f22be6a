"""Draws without a gradient are those of the readable form."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.ops.drawing import draw_one_hot
from dreamer_plugin.world.latent import CategoricalLatent, GaussianLatent


@pytest.mark.parametrize("classes", [2, 4, 8, 16])
@pytest.mark.parametrize("unimix", [0.0, 0.01])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_draws_are_those_of_the_parameters(classes, unimix, dtype):
    latent = CategoricalLatent(6, classes, unimix)
    rng = torch.Generator().manual_seed(0)
    raw = (4 * torch.randn(50, 3, 6 * classes, generator=rng)).to(dtype)
    noise = torch.rand(50, 3, 6, generator=rng)
    drawn = latent.draw(raw, noise)
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, latent.sample(latent.params(raw), noise))
    assert len(drawn.argmax(-1).unique()) == classes  # no class is out of reach


def test_the_ends_of_the_noise_draw_a_class():
    logits = torch.tensor([[[-200.0, 0.0, -200.0]], [[300.0, -300.0, 0.0]]])
    ends = torch.tensor([[0.0], [1.0 - 2**-24]])
    for uniform in (ends, ends.flip(0)):
        drawn = draw_one_hot(logits, 0.0, uniform)
        assert torch.equal(drawn.argmax(-1), torch.tensor([[1], [0]]))
        assert torch.equal(drawn.sum(-1), torch.ones(2, 1))


@pytest.mark.parametrize(
    "latent",
    [CategoricalLatent(5, 4, gradient="gumbel"), GaussianLatent(5)],
    ids=["gumbel", "normal"],
)
def test_other_latents_draw_alike(latent):
    rng = torch.Generator().manual_seed(0)
    raw = torch.randn(7, latent.params_size, generator=rng, requires_grad=True)
    noise = torch.rand(7, *latent.noise_shape, generator=rng)
    drawn = latent.draw(raw, noise)
    assert torch.equal(drawn, latent.sample(latent.params(raw), noise))
    assert not drawn.requires_grad
