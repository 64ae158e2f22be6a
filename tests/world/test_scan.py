"""The fast form of filtering gives what the plain one gives: values and every gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._pytree import tree_leaves

from dreamer_plugin.nets.layers import Style
from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent, GaussianLatent
from dreamer_plugin.world.rssm import RSSM, plain_scan
from dreamer_plugin.world.scan import DeferredScan, Weights, supports

from .. import tiny

B, T, E, A, S, K = 3, 7, 5, 3, 4, 6


def model(**kwargs) -> RSSM:
    torch.manual_seed(0)
    rssm = RSSM(BlockGRU(16, S * K, A, 8, blocks=2), CategoricalLatent(S, K), E, 8, **kwargs)
    with torch.no_grad():  # zeros and ones would hide a wrong gradient
        for param in rssm.parameters():
            param.add_(0.3 * torch.randn_like(param))
    return rssm


def run(rssm: RSSM, scan, autocast: bool = False):
    """All states, and the gradients of a sum with random weights."""
    rssm.scan = scan
    rng = torch.Generator().manual_seed(1)
    embed = torch.randn(B, T, E, generator=rng, requires_grad=True)
    action = torch.randn(B, T, A, generator=rng, requires_grad=True)
    start = (
        torch.randn(B, 16, generator=rng, requires_grad=True),
        torch.rand(B, S, K, generator=rng, requires_grad=True),
    )
    is_first = torch.rand(B, T, generator=rng) < 0.25
    noise = torch.rand(B, T, S, generator=rng)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        states = rssm.observe(embed, action, is_first, start, noise)
    rssm.zero_grad()
    weights = {k: torch.randn(v.shape, generator=rng) for k, v in sorted(states.items())}
    sum((weights[k] * v.float()).sum() for k, v in states.items()).backward()
    grads = {name: p.grad for name, p in rssm.named_parameters()}
    outer = {"embed": embed, "action": action, "deter": start[0], "stoch": start[1]}
    return states, grads | {name: x.grad for name, x in outer.items()}


def error(fast: torch.Tensor, plain: torch.Tensor) -> float:
    return float(((fast - plain).abs().max() / plain.abs().max()).detach())


def test_values_and_gradients_are_those_of_the_plain_form():
    states, grads = run(model(), plain_scan)
    fast_states, fast_grads = run(model(), DeferredScan())
    assert set(grads) == set(fast_grads)
    for key in states.keys():
        assert error(fast_states[key], states[key]) < 1e-6, key
    for name in grads:
        assert error(fast_grads[name], grads[name]) < 1e-5, name


@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_a_class_that_is_as_good_as_impossible_breaks_no_gradient(unimix):
    """Its probability is no number of float32 any more; logits are 200 apart."""

    def saturated():
        rssm = model()
        rssm.latent.unimix = unimix
        with torch.no_grad():
            rssm.posterior[1].bias[0] += 200
        return rssm

    _, grads = run(saturated(), plain_scan)
    _, fast_grads = run(saturated(), DeferredScan())
    for name in grads:
        assert fast_grads[name].isfinite().all(), name
        assert error(fast_grads[name], grads[name]) < 1e-5, name


def test_bfloat16_stays_near_the_plain_form_in_bfloat16():
    states, grads = run(model(), plain_scan, autocast=True)
    fast_states, fast_grads = run(model(), DeferredScan(), autocast=True)
    # A class drawn otherwise would change everything after it; the noise is kind here.
    assert torch.equal(fast_states["stoch"].argmax(-1), states["stoch"].argmax(-1))
    # bfloat16 has 8 bits: one rounding is 2**-9, and a gradient passes some thirty of them.
    for name in grads:
        assert fast_grads[name].dtype == torch.float32
        assert error(fast_grads[name], grads[name]) < 0.1, name


def looking(look):
    """A `wrap` of steps that calls `look` with what each step is given."""

    def wrap(step):
        def call(*given):
            look(given)
            return step(*given)

        return call

    return wrap


def types_of_weights(**settings):
    """In which types steps of such a scan multiply under autocast, and the gradients."""
    seen = set()

    def look(given):
        seen.update(w.deter.dtype for w in given if isinstance(w, Weights))

    _, grads = run(model(), DeferredScan(looking(look), **settings), autocast=True)
    return seen, grads


def test_small_states_are_filtered_in_float32_where_that_is_asked_for():
    """Those of 16 numbers are, and those wider than what was asked for are not."""
    for widest, dtype in ((16, torch.float32), (15, torch.bfloat16)):
        seen, grads = types_of_weights(small=widest)
        assert seen == {dtype}
        assert all(grad.dtype == torch.float32 for grad in grads.values())


def test_compiled_steps_keep_the_working_type():
    """What `compiling.py` asks for: their casts cost less."""
    seen, _ = types_of_weights(small=16, exact=False)
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize(("widest", "inside"), [(16, "highest"), (15, "medium")])
def test_small_float32_products_of_steps_are_left_to_mkl(widest, inside):
    """Where an update has given float32 products to oneDNN, forwards and backwards."""
    seen = []
    watched = looking(lambda given: seen.append(torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision("medium")
    try:
        run(model(), DeferredScan(watched, small=widest))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert len(seen) >= 4
    assert set(seen) == {inside}


def test_all_steps_look_alike_to_a_compiler():
    """Forwards and backwards; else one more is compiled, for the state a batch begins from."""
    seen = set()

    def look(given):
        tensors = (x for x in tree_leaves(given) if isinstance(x, torch.Tensor))
        seen.add(tuple((x.shape, x.stride(), x.dtype) for x in tensors))

    agent = tiny.agent()
    agent.world.rssm.scan = DeferredScan(looking(look))
    agent.update(tiny.batch())
    assert len(seen) == 2


@pytest.mark.parametrize(
    "kwargs",
    [
        {"absolute": True},
        {"posterior_layers": 2},
        {"style": Style(norm="layer")},
        {"style": Style(bias="unnormed")},
        {"learned_start": True},
    ],
)
def test_other_shapes_are_not_supported(kwargs):
    assert supports(model())
    assert not supports(model(**kwargs))


@pytest.mark.parametrize("latent", [GaussianLatent(S), CategoricalLatent(S, K, gradient="gumbel")])
def test_other_latents_are_not_supported(latent):
    flat = math.prod(latent.shape)
    assert not supports(RSSM(BlockGRU(16, flat, A, 8, blocks=2), latent, E, 8))


def test_nothing_is_kept_where_nothing_is_learned():
    rssm = model()
    rssm.scan = DeferredScan()
    with torch.no_grad():
        states = rssm.observe(
            torch.zeros(B, T, E),
            torch.zeros(B, T, A),
            torch.zeros(B, T, dtype=torch.bool),
            rssm.initial(B),
            torch.rand(B, T, S),
        )
    assert not any(value.requires_grad for value in states.values())
