"""LaProp, adaptive clipping and schedules, by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from dreamer_plugin.optim import Adam, LaProp, clip_adaptive_, clip_global_, learning_rate


def _stepped(param: list[float], grads: list[list[float]], **settings: object) -> torch.Tensor:
    p = nn.Parameter(torch.tensor(param))
    opt = LaProp([p], **settings)
    for grad in grads:
        p.grad = torch.tensor(grad)
        opt.step()
    return p.detach()


def test_the_first_warm_up_update_changes_nothing() -> None:
    assert _stepped([1.0, 2.0], [[1.0, 1.0]], lr=1.0, warmup=10).tolist() == [1.0, 2.0]


def test_the_first_update_moves_by_the_rate_whatever_the_gradient() -> None:
    # v = .001 g^2, corrected g^2; u = g/|g| = 1; m = .1, corrected 1
    moved = _stepped([1.0, 1.0], [[1e-3, -50.0]], lr=0.1, warmup=0, agc=0.0)
    assert moved.tolist() == pytest.approx([0.9, 1.1], rel=1e-5)


def test_momentum_comes_after_normalisation() -> None:
    # Step 1: u = 1. Step 2 with gradient 0: v keeps .999 of .001 g^2, u = 0,
    # m = .9*.1 + .1*0 = .09, corrected by 1 - .81: an Adam would divide m by sqrt(v) anew.
    moved = _stepped([0.0], [[2.0], [0.0]], lr=1.0, warmup=0, agc=0.0)
    assert moved.item() == pytest.approx(-1 - 0.09 / 0.19, rel=1e-5)


def test_clipping_uses_whole_tensors_and_a_floor() -> None:
    params = [torch.tensor([3.0, 4.0]), torch.zeros(2)]
    grads = [torch.tensor([30.0, 40.0]), torch.tensor([3.0, 4.0])]
    clip_adaptive_(grads, params, 0.3, 1e-3)
    assert grads[0].tolist() == pytest.approx([0.9, 1.2])  # norm 50 to .3 * 5
    assert grads[1].tolist() == pytest.approx([3e-4 * 0.6, 3e-4 * 0.8])  # norm 5 to .3 * 1e-3


def test_small_gradients_are_not_scaled_up() -> None:
    grads = [torch.tensor([0.1, 0.0]), torch.zeros(2)]
    clip_adaptive_(grads, [torch.ones(2), torch.ones(2)], 0.3, 1e-3)
    assert grads[0].tolist() == pytest.approx([0.1, 0.0]) and not grads[1].any()


def test_weight_decay_is_decoupled() -> None:
    # Update 1 (as above) plus .5 * 2, times the rate
    moved = _stepped([2.0], [[1.0]], lr=0.1, warmup=0, agc=0.0, weight_decay=0.5)
    assert moved.item() == pytest.approx(2 - 0.1 * (1 + 0.5 * 2), rel=1e-5)


def test_parameters_without_gradient_stay() -> None:
    kept, moved = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    opt = LaProp([kept, moved], lr=0.1, warmup=0)
    moved.grad = torch.ones(2)
    opt.step()
    assert torch.equal(kept, torch.ones(2)) and not torch.equal(moved, torch.ones(2))


def test_tiny_gradients_do_not_divide_by_zero() -> None:
    moved = _stepped([1.0, 1.0], [[0.0, 1e-25]], lr=0.1, warmup=0)
    assert moved.isfinite().all() and moved[0] == 1


def test_schedules() -> None:
    rate = [learning_rate(n, 2.0, warmup=4) for n in range(6)]
    assert rate == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.0])
    linear = [learning_rate(n, 2.0, 0, 10, "linear") for n in (0, 5, 10, 20)]
    assert linear == pytest.approx([2.0, 1.1, 0.2, 0.2])
    assert learning_rate(99, 2.0, 0, 10, "linear", lr_end=0.05) == pytest.approx(0.1)
    # The cosine ends at lr * (0.1 lr): optax takes the end as a share and is given 0.1 lr.
    cosine = [learning_rate(n, 2.0, 0, 10, "cosine") for n in (0, 5, 10, 20)]
    assert cosine == pytest.approx([2.0, 2 * (0.8 * 0.5 + 0.2), 0.4, 0.4])
    assert learning_rate(2, 2.0, 4, 10, "cosine") == pytest.approx(1.0)
    assert math.isclose(learning_rate(7, 1e-2, 3, 10, "cosine"), 1e-2 * 0.3894, rel_tol=1e-3)


def test_unknown_schedule_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="'linar'; valid: constant, linear, cosine"):
        learning_rate(5, 1.0, schedule="linar")


def test_closures_are_refused() -> None:
    with pytest.raises(ValueError, match="no closure"):
        LaProp([nn.Parameter(torch.ones(1))]).step(lambda: 0.0)


def test_the_global_norm_is_clipped_over_all_gradients_together() -> None:
    """Norm of (3, 4) and (12) is 13: a limit of 6.5 halves all, one of 13 or 20 leaves all."""
    for limit, share in ((6.5, 0.5), (13.0, 1.0), (20.0, 1.0)):
        grads = [torch.tensor([3.0, 4.0]), torch.tensor([12.0])]
        clip_global_(grads, limit)
        assert grads[0].tolist() == pytest.approx([3 * share, 4 * share])
        assert grads[1].tolist() == pytest.approx([12 * share])


def test_groups_of_one_name_are_clipped_together_and_others_apart() -> None:
    """Limits 6.5 and 1: model gradients (3, 4) and (12) are halved, the actor's (2) becomes 1."""
    one, two, actor = (nn.Parameter(torch.zeros(n)) for n in (2, 1, 1))
    groups = [
        {"params": [one], "name": "model", "clip": 6.5},
        {"params": [actor], "name": "actor", "clip": 1.0},
        {"params": [two], "name": "model", "clip": 6.5},
    ]
    optimizer = Adam(groups, agc=0.0, warmup=0)
    grads = torch.tensor([3.0, 4.0]), torch.tensor([12.0]), torch.tensor([2.0])
    for param, grad in zip((one, two, actor), grads, strict=True):
        param.grad = grad
    optimizer.step()
    clipped = [param.grad.tolist() for param in (one, two, actor)]
    assert clipped == [pytest.approx([1.5, 2.0]), pytest.approx([6.0]), pytest.approx([1.0])]


def test_adam_is_that_of_torch() -> None:
    """Five updates of random gradients; torch.optim.Adam of the installed torch."""
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0, 0.5])) for _ in range(2))
    settings = {"lr": 0.1, "eps": 1e-3}
    mine = Adam([ours], beta1=0.9, beta2=0.99, agc=0.0, warmup=0, **settings)
    other = torch.optim.Adam([theirs], betas=(0.9, 0.99), **settings)
    rng = torch.Generator().manual_seed(0)
    for _ in range(5):
        ours.grad = torch.randn(3, generator=rng)
        theirs.grad = ours.grad.clone()
        mine.step()
        other.step()
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_adam_with_a_raw_eps_is_that_of_tensorflow() -> None:
    """Keras' update, `p -= lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)`, in float64."""
    param, settings = nn.Parameter(torch.tensor([1.0])), {"lr": 0.1, "eps": 1e-2}
    optimizer = Adam([param], agc=0.0, warmup=0, raw_eps=True, **settings)
    p, m, v = 1.0, 0.0, 0.0
    for t, grad in enumerate([1e-3, -2e-3, 5e-2, 1e-4], 1):
        param.grad = torch.tensor([grad])
        optimizer.step()
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        p -= 0.1 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 1e-2)
        assert param.item() == pytest.approx(p, abs=1e-7)


def test_adam_averages_the_gradient_where_laprop_averages_its_direction() -> None:
    """Gradients 1, then 10; beta1 = beta2 = 0.5, rate 1. Adam: m = 21/4 / (3/4) = 7,
    v = 201/4 / (3/4) = 67, so 1 + 7 / sqrt(67). LaProp: (1 + 2 * 10 / sqrt(67)) / 3 more than 1.
    """
    settings = {"lr": 1.0, "beta1": 0.5, "beta2": 0.5, "agc": 0.0, "warmup": 0}
    moved = {}
    for kind in (Adam, LaProp):
        p = nn.Parameter(torch.zeros(1))
        optimizer = kind([p], **settings)
        for grad in (1.0, 10.0):
            p.grad = torch.tensor([grad])
            optimizer.step()
        moved[kind] = -p.item()
    assert moved[Adam] == pytest.approx(1 + 7 / math.sqrt(67), rel=1e-5)
    assert moved[LaProp] == pytest.approx(1 + (1 + 20 / math.sqrt(67)) / 3, rel=1e-5)


def test_each_group_has_its_own_rate_and_eps() -> None:
    """First updates by LaProp: rate * g / (|g| + eps), 0.1 * 2 / 2 and 0.3 * 2 / (2 + 2)."""
    one, two = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [one], "lr": 0.1}, {"params": [two], "lr": 0.3, "eps": 2.0}]
    optimizer = LaProp(groups, agc=0.0, warmup=0)
    one.grad, two.grad = torch.tensor([2.0]), torch.tensor([2.0])
    optimizer.step()
    assert [one.item(), two.item()] == pytest.approx([-0.1, -0.15])


def test_decay_can_leave_the_learning_rate_alone() -> None:
    """V2: every parameter times 1 - d before Adam's step, as torch's AdamW at decay d / lr."""
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0, 0.5])) for _ in range(2))
    group = {"params": [ours], "weight_decay": 1e-2}
    mine = Adam([group], lr=0.1, eps=1e-5, agc=0.0, warmup=0, decay_by_rate=False)
    other = torch.optim.AdamW([theirs], lr=0.1, eps=1e-5, weight_decay=1e-2 / 0.1)
    for _ in range(3):
        ours.grad = torch.tensor([1.0, 0.5, -2.0])
        theirs.grad = ours.grad.clone()
        mine.step()
        other.step()
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(("agc", "clip"), [(0.3, 0.0), (0.0, 0.1), (0.3, 0.1)])
def test_the_norm_before_clipping_is_kept(agc: float, clip: float) -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))
    groups = [{"params": [first], "lr": 0.1}, {"params": [second], "lr": 0.2}]
    opt = LaProp(groups, agc=agc, clip=clip, warmup=0)
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    opt.step()
    # 5 is the hypotenuse of 3 and 4; groups without a name are one.
    assert {name: norm.item() for name, norm in opt.norms.items()} == {"": pytest.approx(5.0)}


def test_without_clipping_no_norm_is_computed() -> None:
    param = nn.Parameter(torch.ones(2))
    opt = Adam([param], agc=0.0)
    param.grad = torch.ones(2)
    opt.step()
    assert opt.norms == {}


@pytest.mark.parametrize("kind", [LaProp, Adam])
@pytest.mark.parametrize(
    "settings",
    [
        {"agc": 0.3},
        {"agc": 0.0, "clip": 1.0, "nesterov": True},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decay_by_rate": False},
    ],
)
def test_a_step_that_is_not_finite_is_none(kind, settings) -> None:
    """The flag is a tensor: neither the second step nor the NaNs of the third leave a trace."""
    torch.manual_seed(0)
    plain, guarded = (nn.Parameter(torch.ones(3, 4)) for _ in range(2))
    one, other = (kind([p], lr=0.1, warmup=0, **settings) for p in (plain, guarded))
    for number, grad in enumerate(torch.randn(4, 3, 4)):
        if number in (1, 2):
            guarded.grad = grad if number == 1 else torch.full_like(grad, math.nan)
            other.step(finite=torch.tensor(False))
            other.updates -= 1
            continue
        plain.grad, guarded.grad = grad.clone(), grad.clone()
        one.step()
        other.step(finite=torch.tensor(True))
    assert torch.equal(plain, guarded) and not torch.equal(plain, torch.ones(3, 4))
    for slot in ("square", "momentum"):
        assert torch.equal(one.state[plain][slot], other.state[guarded][slot])


def test_a_saved_optimizer_goes_on_where_it_was() -> None:
    def made() -> tuple[nn.Parameter, LaProp]:
        p = nn.Parameter(torch.tensor([1.0, -2.0]))
        return p, LaProp([p], lr=0.1, warmup=3, agc=0.0)

    def step(p: nn.Parameter, opt: LaProp, grad: float) -> None:
        p.grad = torch.full((2,), grad)
        opt.step()

    p, opt = made()
    for grad in (1.0, 2.0, -1.0, 0.5, 3.0):
        step(p, opt, grad)
    q, other = made()
    q.data.copy_(p.data)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))  # torch shares what it is given
    copied = copy.deepcopy(opt)
    assert (other.updates, copied.updates) == (5, 5)
    for each in ((p, opt), (q, other)):
        step(*each, 0.7)
    assert torch.equal(p, q)
    with pytest.raises(ValueError, match="lacks .*'updates'.*of another optimiser"):
        other.load_state_dict(torch.optim.Adam([q]).state_dict())
