"""Distributions of continuous actions: by hand, by integration, beside torch's, at extremes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamer_plugin.ops.continuous import (
    BoundedNormal,
    TanhNormal,
    TruncatedNormal,
    UnboundedNormal,
    normal_quantile,
    sigmoid2_std,
    softplus_std,
)

LARGEST_UNIFORM = 1 - 2.0**-24  # what torch.rand can return at most
MAKERS = {
    "bounded": partial(BoundedNormal, min_std=0.1, max_std=1.0),
    "unbounded": partial(UnboundedNormal, min_std=0.1),
    "truncated": partial(TruncatedNormal, min_std=0.1),
    "tanh": partial(TanhNormal, min_std=1e-4, init_std=5.0),
}
BORDERED = ["truncated", "tanh"]
# Mean and standard deviation before they are squashed; middle, skewed, narrow, wide.
RAWS = torch.tensor([[0.0, 0.0], [0.7, -1.0], [-1.2, -4.0], [0.3, 3.0]])


def made(name: str) -> object:
    return MAKERS[name](*RAWS.unbind(-1))


def test_bounded_normal_bounds_and_likelihood() -> None:
    raw = torch.tensor([[-100.0], [0.0], [100.0]])
    normal = BoundedNormal(raw, raw, 0.1, 1.0)
    middle = 0.9 / (1 + math.exp(-2)) + 0.1
    assert normal.std.flatten().tolist() == pytest.approx([0.1, middle, 1.0])
    assert normal.mean.flatten().tolist() == [-1.0, 0.0, 1.0]
    reference = torch.distributions.Normal(normal.mean, normal.std)
    value = torch.randn(3, 1) * 3  # beyond [-1, 1] as well: nothing is squashed
    assert torch.allclose(normal.logp(value), reference.log_prob(value), atol=1e-5)
    assert torch.allclose(normal.entropy(), reference.entropy(), atol=1e-6)


def test_normal_quantile_is_finite_at_both_ends_and_exact_inside() -> None:
    ends = normal_quantile(torch.tensor([0.0, LARGEST_UNIFORM, 1.0]))
    assert ends.isfinite().all() and ends[0] < -5 and ends[1] > 5 and ends[2] > 5
    inside = normal_quantile(torch.tensor([0.5, 0.841344746]))  # the normal CDF of 0 and of 1
    assert inside.tolist() == pytest.approx([0.0, 1.0], abs=1e-5)


def test_standard_deviations_by_hand() -> None:
    raw = torch.tensor([-100.0, 0.0, 100.0])
    assert softplus_std(raw, 0.1).tolist() == pytest.approx([0.1, 0.1 + math.log(2), 100.1])
    assert sigmoid2_std(raw, 0.1).tolist() == pytest.approx([0.1, 1.1, 2.1])


def test_an_unbounded_normal_has_any_mean() -> None:
    normal = UnboundedNormal(torch.tensor([-30.0, 2.0]), torch.zeros(2), 0.1)
    assert normal.mode().tolist() == [-30.0, 2.0]
    assert normal.std.tolist() == pytest.approx([0.1 + math.log(2)] * 2)


def test_a_tanh_normal_begins_wide_and_its_mean_is_bounded() -> None:
    """DreamerV1: std softplus(0 + ln(e^5 - 1)) + 0.0001 = 5.0001, mean 5 tanh(m / 5)."""
    start = TanhNormal(torch.zeros(1), torch.zeros(1), 1e-4, 5.0)
    assert start.before.std.item() == pytest.approx(5.0001, abs=1e-6)
    far = TanhNormal(torch.tensor([-1e6, 2.0, 1e6]), torch.zeros(3), 1e-4, 5.0)
    assert far.before.mean.tolist() == pytest.approx([-5.0, 5 * math.tanh(0.4), 5.0])
    narrow = TanhNormal(torch.zeros(1), torch.zeros(1), 0.0, 0.01)
    assert narrow.before.std.item() == pytest.approx(0.01, rel=1e-5)


def test_a_tanh_normal_has_the_likelihood_of_torchs() -> None:
    ours = made("tanh")
    normal = torch.distributions.Normal(ours.before.mean, ours.before.std)
    squash = torch.distributions.TanhTransform()
    theirs = torch.distributions.TransformedDistribution(normal, [squash])
    value = torch.linspace(-0.999, 0.999, 41).unsqueeze(-1)
    assert torch.allclose(ours.logp(value), theirs.log_prob(value), rtol=1e-4, atol=1e-4)


def test_on_the_border_and_beyond_counts_as_just_inside() -> None:
    ours, inside = made("tanh"), torch.tensor(1 - 2.0**-24)
    for value in (1.0, 1.5):
        assert torch.equal(ours.logp(torch.tensor(value)), ours.logp(inside))
        assert torch.equal(ours.logp(torch.tensor(-value)), ours.logp(-inside))
    cut = made("truncated")
    assert torch.equal(cut.logp(torch.tensor(1.5)), cut.logp(torch.tensor(1.0)))


def test_the_entropy_of_a_tanh_normal_is_near_the_integral() -> None:
    """Their mean |z| is 0.0021 short of a normal's; far out the slope falls by 2 for each unit."""
    ours = made("tanh")
    mean, std = ours.before.mean.double(), ours.before.std.double()
    z = torch.linspace(-9, 9, 20001, dtype=torch.double).unsqueeze(-1)
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    slope = -2 * torch.log(torch.cosh(mean + std * z))
    change = torch.trapezoid(density * slope, z, dim=0)
    exact = torch.log(std) + 0.5 * math.log(2 * math.pi * math.e) + change
    assert ((ours.entropy() - exact).abs() <= 2 * 0.0022 * std).all()


def test_the_mode_of_a_tanh_normal_is_the_best_of_its_quantiles() -> None:
    ours = made("tanh")
    grid = ((torch.arange(100) + 0.5) / 100).unsqueeze(-1)
    of_samples = ours.logp(ours.sample(grid.expand(100, len(RAWS))))
    narrow = TanhNormal(torch.tensor([0.5]), torch.tensor([0.0]), 0.0, 0.1)
    assert (ours.logp(ours.mode()) >= of_samples - 1e-3).all()
    # The density is highest where x = 5 tanh(0.5 / 5) + 2 * 0.1^2 tanh(x), that is at
    # 0.4983 + 0.0094; quantiles lie 0.0025 apart there.
    assert torch.atanh(narrow.mode()).item() == pytest.approx(0.5077, abs=0.0014)
    wide = TanhNormal(torch.tensor([-0.01, 0.01]), torch.zeros(2), 1e-4, 5.0)
    assert wide.mode().tolist() == pytest.approx([-1.0, 1.0], abs=1e-3)


def test_a_truncated_normal_fills_its_interval() -> None:
    """Density, distribution function and entropy by integration."""
    ours = made("truncated")
    x = torch.linspace(-1, 1, 20001).unsqueeze(-1)
    logp = ours.logp(x).double()
    density = logp.exp()
    assert torch.trapezoid(density, x.double(), dim=0).tolist() == pytest.approx(
        [1.0] * 4, abs=1e-5
    )
    entropy = -torch.trapezoid(density * logp, x.double(), dim=0)
    assert torch.allclose(ours.entropy().double(), entropy, atol=1e-4)
    below = torch.cumulative_trapezoid(density, x.double(), dim=0)
    for noise in (0.01, 0.3, 0.5, 0.97):
        drawn = ours.sample(torch.full((4,), noise)).tolist()
        found = [(below[:, i] < noise).sum().item() * 1e-4 - 1 for i in range(4)]
        assert drawn == pytest.approx(found, abs=2e-4)


def test_a_wide_truncated_normal_is_nearly_uniform() -> None:
    """Std 2 over [-1, 1]: the density falls from the middle to the ends by exp(-1/8)."""
    wide = TruncatedNormal(torch.zeros(1), torch.full((1,), 50.0), 0.0)
    middle, end = wide.logp(torch.tensor([0.0])), wide.logp(torch.tensor([1.0]))
    assert (middle - end).item() == pytest.approx(1 / 8, abs=1e-6)
    assert wide.entropy().item() == pytest.approx(math.log(2), abs=2e-3)


def test_draws_of_a_truncated_normal_stay_off_the_border() -> None:
    ours = made("truncated")
    ends = torch.stack([ours.sample(torch.full((4,), u)) for u in (0.0, LARGEST_UNIFORM)])
    assert ends.abs().max() <= 1 - 1e-6
    assert ends[0, 3] == -ends[1, 3] == -(torch.tensor(1 - 1e-6))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("what", ["sample", "logp", "entropy"])
def test_gradients_are_finite_differences(name: str, what: str) -> None:
    noise, value = torch.tensor([0.2, 0.5, 0.9, 0.7]), torch.tensor([0.3, -0.2, -0.9, 0.8])
    results: dict[str, Callable[[object], Tensor]] = {
        "sample": lambda made: made.sample(noise),
        "logp": lambda made: made.logp(value),
        "entropy": lambda made: made.entropy(),
    }

    def result(raws: Tensor) -> Tensor:
        return results[what](MAKERS[name](*raws.unbind(-1)))

    raws, step = RAWS.clone().requires_grad_(), 1e-2
    (ours,) = torch.autograd.grad(result(raws).sum(), raws)
    for column in (0, 1):
        shift = torch.zeros(2).index_fill_(0, torch.tensor([column]), step)
        slope = (result(RAWS + shift) - result(RAWS - shift)) / (2 * step)
        # Float32 leaves about 1e-4 of such a slope, the third derivative as much.
        assert torch.allclose(ours[:, column], slope, rtol=5e-3, atol=2e-3), column


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_overflows_at_extremes(name: str, dtype: torch.dtype) -> None:
    raw, ends = torch.tensor([-50.0, -5, 0, 5, 50]), torch.tensor([0.0, 0.5, LARGEST_UNIFORM])
    mean, std, noise = torch.cartesian_prod(raw, raw, ends).unbind(-1)
    mean, std = mean.to(dtype).requires_grad_(), std.to(dtype).requires_grad_()
    dist = MAKERS[name](mean, std)
    drawn, border = dist.sample(noise), torch.ones(len(noise))
    scores = [dist.logp(x) for x in (drawn.detach(), border, -border)]
    for value in (drawn, dist.mode(), *scores, dist.entropy()):
        assert value.dtype == torch.float32 and value.isfinite().all()
        grads = torch.autograd.grad(value.sum(), (mean, std), allow_unused=True, retain_graph=True)
        assert all(grad.isfinite().all() for grad in grads if grad is not None)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(MAKERS)),
    *[st.floats(-50, 50, width=32)] * 2,
    *[st.floats(0, LARGEST_UNIFORM, width=32)] * 2,
)
def test_draws_rise_with_their_noise(
    name: str, mean: float, std: float, u: float, v: float
) -> None:
    dist = MAKERS[name](torch.tensor([mean]), torch.tensor([std]))
    low, high = (dist.sample(torch.tensor([x])).item() for x in sorted((u, v)))
    assert low <= high
    if name in BORDERED:
        assert -1 <= low and high <= 1


def test_bfloat16_is_computed_as_float32() -> None:
    raws = RAWS.bfloat16()
    for make in MAKERS.values():
        coarse, fine = (make(*x.unbind(-1)) for x in (raws, raws.float()))
        noise = torch.rand(4)
        assert torch.equal(coarse.sample(noise), fine.sample(noise))
        assert torch.equal(coarse.entropy(), fine.entropy())
