"""Returns and weights, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_plugin.ops.returns import (
    Arrival,
    Departure,
    arrival_returns,
    arrival_weights,
    lambda_return,
    replay_returns,
)

# A dream of three steps. The first reward and value must not matter.
REWARD = torch.tensor([[99.0, 1, 2, 3]])
CONT = torch.tensor([[0.7, 0.5, 1, 0.5]])
VALUE = torch.tensor([[99.0, 10, 20, 30]])


@pytest.mark.parametrize(
    ("lambda_", "expected"),
    [
        # G2 = 3 + .5*30; G1 = 2 + (1-l)*20 + l*G2; G0 = 1 + .5*((1-l)*10 + l*G1)
        (0.0, [6.0, 22.0, 18.0]),
        (0.5, [8.75, 21.0, 18.0]),
        (1.0, [11.0, 20.0, 18.0]),
    ],
)
def test_dream_returns_by_hand(lambda_: float, expected: list[float]) -> None:
    ret = arrival_returns(REWARD, CONT, VALUE, 1.0, lambda_)
    assert torch.allclose(ret, torch.tensor([expected]))


def test_discount_multiplies_continuation() -> None:
    # One-step returns: 1 + .9*.5*10, 2 + .9*1*20, 3 + .9*.5*30
    ret = arrival_returns(REWARD, CONT, VALUE, 0.9, 0.0)
    assert torch.allclose(ret, torch.tensor([[5.5, 20.0, 16.5]]))


def test_lambda_may_differ_per_step() -> None:
    # l = (1, 0, *): G1 = 2 + 20 = 22 (one step), G0 = 1 + .5*22 (all of it)
    ret = lambda_return(REWARD[:, 1:], CONT[:, 1:], VALUE[:, 1:], torch.tensor([[1.0, 0, 0.3]]))
    assert torch.allclose(ret, torch.tensor([[12.0, 22.0, 18.0]]))


@given(st.integers(1, 40), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_sums_of_many_steps_are_the_recursion(steps: int, seed: int) -> None:
    # The docstring's equation, a step at a time, with a lambda, a discount and a reward per step.
    rng = torch.Generator().manual_seed(seed)
    draws = torch.rand(4, 2, steps, 3, generator=rng, dtype=torch.float64).requires_grad_()
    reward, discount, value, lambda_ = draws
    ret, expected = value[:, -1], []
    for t in reversed(range(steps)):
        after = (1 - lambda_[:, t]) * value[:, t] + lambda_[:, t] * ret
        ret = reward[:, t] + discount[:, t] * after
        expected.insert(0, ret)
    ours, theirs = lambda_return(reward, discount, value, lambda_), torch.stack(expected, 1)
    torch.testing.assert_close(ours, theirs)
    weights = torch.rand(ours.shape, generator=rng, dtype=torch.float64)
    (of_ours,) = torch.autograd.grad((ours * weights).sum(), draws)
    (of_theirs,) = torch.autograd.grad((theirs * weights).sum(), draws)
    torch.testing.assert_close(of_ours, of_theirs)


def test_weights_by_hand() -> None:
    cont = torch.tensor([[0.9, 0.5, 0.5]])
    assert torch.allclose(arrival_weights(cont, 1.0), torch.tensor([[0.9, 0.45, 0.225]]))
    # With discount .5: .9, .9*.5*.5, .9*.5*.5*.25: the start state is not discounted
    assert torch.allclose(arrival_weights(cont, 0.5), torch.tensor([[0.9, 0.225, 0.05625]]))


def test_dreams_from_a_terminal_state_weigh_nothing() -> None:
    assert not arrival_weights(torch.tensor([[0.0, 1, 1]]), 1.0).any()


def _replayed(last: list[bool], terminal: list[bool]) -> torch.Tensor:
    return replay_returns(
        torch.tensor([[99.0, 1, 2]]),
        torch.tensor([last]),
        torch.tensor([terminal]),
        torch.tensor([[99.0, 10, 20]]),
        0.9,
        0.5,
    )


def test_replayed_returns_by_hand() -> None:
    # R1 = 2 + .9*20; R0 = 1 + .9*(.5*10 + .5*R1)
    assert torch.allclose(_replayed([False] * 3, [False] * 3), torch.tensor([[14.5, 20.0]]))


def test_truncation_bootstraps_and_termination_does_not() -> None:
    ends = [False, True, False]
    truncated, terminated = _replayed(ends, [False] * 3), _replayed(ends, ends)
    assert truncated[0, 0] == pytest.approx(1 + 0.9 * 10)
    assert terminated[0, 0] == pytest.approx(1)


# A dream of three steps, departure convention: the last reward and continuation must not matter,
# nor the first value. With l = .5: R2 = 3 + .5*30; R1 = 2 + .8*(.5*20 + .5*R2);
# R0 = 1 + .5*(.5*10 + .5*R1).
DREAM = (
    torch.tensor([[1.0, 2, 3, 99]]),
    torch.tensor([[0.5, 0.8, 0.5, 99]]),
    torch.tensor([[99.0, 10, 20, 30]]),
)


def test_departure_by_hand() -> None:
    """V2: values of s0 to s2 are learned; the decisions at s0 and s1 are judged by R1 and R2."""
    cut = Departure()(*DREAM, 1.0, 0.5)
    assert cut.ret.tolist() == [pytest.approx([7.8, 17.2, 18.0])]
    assert cut.weight.tolist() == [pytest.approx([1.0, 0.5, 0.4])]  # 1, d0, d0 d1
    assert cut.decided.tolist() == [pytest.approx([17.2, 18.0])]
    assert cut.decided_weight.tolist() == [pytest.approx([1.0, 0.5])]


def test_departure_without_the_start_by_hand() -> None:
    """V1: the dream begins at s1, whose weight is 1; what the actor did at s0 counts still."""
    cut = Departure(first=1)(*DREAM, 1.0, 0.5)
    assert cut.ret.tolist() == [pytest.approx([17.2, 18.0])] == cut.decided.tolist()
    assert cut.weight.tolist() == [pytest.approx([1.0, 0.8])] == cut.decided_weight.tolist()


def test_a_constant_discount_takes_the_place_of_a_head() -> None:
    """All continuations 1, discount .9, l = 1: R2 = 3 + .9*30, R1 = 2 + .9*R2, R0 = 1 + .9*R1."""
    cut = Departure()(DREAM[0], torch.ones(1, 4), DREAM[2], 0.9, 1.0)
    assert cut.ret.tolist() == [pytest.approx([27.1, 29.0, 30.0])]
    assert cut.weight.tolist() == [pytest.approx([1.0, 0.9, 0.81])]


def test_after_a_terminal_start_nothing_weighs_but_the_start() -> None:
    cont = torch.tensor([[0.0, 1, 1, 1]])
    cut = Departure()(DREAM[0], cont, DREAM[2], 1.0, 0.5)
    assert cut.weight.tolist() == [[1, 0, 0]] and cut.ret[0, 0] == 1


def test_arrival_judges_each_decision_by_the_return_of_its_state() -> None:
    cut = Arrival()(REWARD, CONT, VALUE, 1.0, 0.5)
    assert cut.ret.tolist() == [[8.75, 21.0, 18.0]] == cut.decided.tolist()
    assert cut.weight.equal(arrival_weights(CONT, 1.0)[:, :-1]) and cut.decided_weight is cut.weight


def test_a_known_start_is_discounted_only_where_it_leads_on() -> None:
    """`weight_0 = 1 - terminal` of danijar/dreamerv3 @ 251910d; `discount` times it in V2."""
    ends = torch.tensor([False, True])
    assert Arrival().start(ends, 0.9).tolist() == [1.0, 0.0]
    assert Departure().start(ends, 0.9).tolist() == [pytest.approx(0.9), 0.0]
    cont = torch.tensor([[1.0, 0.9, 0.9, 0.9]])  # as a head that learned 0.9 predicts them
    weight, _ = Arrival().weights(cont, 1.0)
    assert weight[0].tolist() == pytest.approx([1.0, 0.9, 0.81])
