"""Lambda returns: one recursion, and the arrangers that cut its slices from a trajectory.

Arrival convention (V3): a reward belongs to the state it arrives with, and a state's value does
not include that state's own reward.

    state    s0    s1    s2   …   sH
    reward   -     r1    r2       rH        (r0 is not used)
    cont     c0    c1    c2       cH        (c0 only enters the weights)
    value    v0    v1    v2       vH
    return   G0    G1    …    G(H-1)        G(t) = r(t+1) + d(t+1) [(1-l) v(t+1) + l G(t+1)]
    decision a0    a1    …    a(H-1)        a(t) is judged by G(t)

Departure convention (V1, V2): a state's value includes that state's own reward, so that the first
return knows nothing of any decision, and a decision is judged by the return of the state after it.

    return   R0    R1    …    R(H-1)        R(t) = r(t) + d(t) [(1-l) v(t+1) + l R(t+1)]
    weight   1     d0    d0d1               (V2; V1 leaves s0 out and starts with 1 at s1)
    decision a0    a1    …    a(H-2)        a(t) is judged by R(t+1)
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Arranged(NamedTuple):
    """A dream cut as the losses need it.

    Args:
        ret, weight: `[N, K]` of the K states from the arrangement's first one on, which the critic
            learns from.
        decided, decided_weight: `[N, M]`, what the decisions at the first M states led to.
    """

    ret: Tensor
    weight: Tensor
    decided: Tensor
    decided_weight: Tensor


class Arranger(Protocol):
    """A convention: `first` is the first state whose value is learned, the call cuts a dream."""

    @property
    def first(self) -> int:
        """0, or 1 where the replayed start is no part of the dream."""

    def __call__(
        self, reward: Tensor, cont: Tensor, value: Tensor, discount: float, lambda_: float
    ) -> Arranged:
        """All `[N, H+1]`; numbers as in `arrival_returns`."""

    def weights(self, cont: Tensor, discount: float) -> tuple[Tensor, Tensor]:
        """`weight` and `decided_weight` alone, of continuations `[N, H+1]`."""

    def start(self, is_terminal: Tensor, cont_discount: float) -> Tensor:
        """Continuation of start states of which replay knows whether they end, `[N]`.

        Args:
            is_terminal: `[N]`. cont_discount: what all other continuations were learned with.
        """


def lambda_return(
    reward_tp1: Tensor, discount_tp1: Tensor, value_tp1: Tensor, lambda_tp1: Tensor | float
) -> Tensor:
    """The recursion `G_t = r_{t+1} + d_{t+1} [(1 - l_{t+1}) v_{t+1} + l_{t+1} G_{t+1}]`.

    It ends in `G_H = v_H`. Time is axis 1; index t of an input holds its value at t + 1,
    t = 0 … H-1. Sums of 1, 2, 4, … steps at once: a compiler takes seconds for a loop over H.

    Args:
        reward_tp1: `[N, H, ...]`.
        discount_tp1: `[N, H, ...]`, probability of going on times the discount.
        value_tp1: `[N, H, ...]`, bootstrap values.
        lambda_tp1: `[N, H, ...]` or one number.

    Returns:
        `[N, H, ...]`. Source: Sutton & Barto eq. 12.18; `dreamerv3/agent.py`, `lambda_return`.
    """
    if not isinstance(lambda_tp1, Tensor):
        lambda_tp1 = value_tp1.new_full((), lambda_tp1)  # `as_tensor` would copy it from the host
    lam = lambda_tp1.to(value_tp1.dtype).expand_as(value_tp1)
    lam = torch.cat([lam[:, :-1], torch.zeros_like(lam[:, -1:])], 1)  # nothing follows the last
    ret = reward_tp1 + (1 - lam) * discount_tp1 * value_tp1
    carried = lam * discount_tp1
    steps, ahead = ret.shape[1], 1
    while ahead < steps:  # sums of `ahead` steps, and the share in them of what comes after
        longer = ret[:, :-ahead] + carried[:, : steps - ahead] * ret[:, ahead:]
        ret = torch.cat([longer, ret[:, -ahead:]], 1)
        carried = carried[:, :-ahead] * carried[:, ahead:]
        ahead *= 2
    return ret


def arrival_returns(
    reward: Tensor, cont: Tensor, value: Tensor, discount: float, lambda_: float
) -> Tensor:
    """Returns of a dream, arrival convention (table above).

    Args:
        reward: `[N, H+1]` predicted at every state.
        cont: `[N, H+1]` predicted probability of going on.
        value: `[N, H+1]`.
        discount: multiplies `cont`; 1 when `cont` has learned the discount itself.
        lambda_: mixing of one-step and long returns, in [0, 1].

    Returns:
        `[N, H]`.
    """
    return lambda_return(reward[:, 1:], discount * cont[:, 1:], value[:, 1:], lambda_)


def arrival_weights(cont: Tensor, discount: float) -> Tensor:
    """How likely each dreamed state is reached: `w_t = prod_{i<=t} (d c_i) / d`.

    The start state's own continuation counts, so dreams that start in a terminal state weigh
    nothing. Source: `dreamerv3/agent.py`, `imag_loss`.

    Args:
        cont: `[N, H+1]`. discount: as in `arrival_returns`.

    Returns:
        `[N, H+1]`.
    """
    return torch.cumprod(discount * cont, 1) / discount


class Arrival:
    """V3's convention: returns and decisions of s0 to s(H-1)."""

    first = 0

    def __call__(
        self, reward: Tensor, cont: Tensor, value: Tensor, discount: float, lambda_: float
    ) -> Arranged:
        """See `Arranger`; K = M = H."""
        ret = arrival_returns(reward, cont, value, discount, lambda_)
        weight, decided_weight = self.weights(cont, discount)
        return Arranged(ret, weight, ret, decided_weight)

    def weights(self, cont: Tensor, discount: float) -> tuple[Tensor, Tensor]:
        """See `Arranger`."""
        weight = arrival_weights(cont, discount)[:, :-1]
        return weight, weight

    def start(self, is_terminal: Tensor, cont_discount: float) -> Tensor:
        """See `Arranger`; it weighs the dream alone, whose first state no time has discounted."""
        return (~is_terminal).float()


class Departure:
    """V1's and V2's convention, see the head of this file; M = H - 1.

    Args:
        first: 0 (V2) learns the values of s0 to s(H-1); 1 (V1) those of s1 to s(H-1), and weighs
            from s1 on.

    Source: danijar/dreamerv2 @ 07d906e9, `agent.py`; danijar/dreamer @ 56d4d444, `dreamer.py`.
    """

    def __init__(self, first: int = 0) -> None:
        self.first = first

    def __call__(
        self, reward: Tensor, cont: Tensor, value: Tensor, discount: float, lambda_: float
    ) -> Arranged:
        """See `Arranger`; K = H - first."""
        reward, value = reward[:, self.first :], value[:, self.first :]
        going = discount * cont[:, self.first : -1]  # N K
        ret = lambda_return(reward[:, :-1], going, value[:, 1:], lambda_)
        weight, decided_weight = self.weights(cont, discount)
        return Arranged(ret, weight, ret[:, -decided_weight.shape[1] :], decided_weight)

    def weights(self, cont: Tensor, discount: float) -> tuple[Tensor, Tensor]:
        """See `Arranger`."""
        going = discount * cont[:, self.first : -1]  # N K
        passed = torch.cat([torch.ones_like(going[:, :1]), going[:, :-1]], 1)
        weight = torch.cumprod(passed, 1)
        return weight, weight[:, : cont.shape[1] - 2]

    def start(self, is_terminal: Tensor, cont_discount: float) -> Tensor:
        """See `Arranger`; it leads on to the next state, as every other does."""
        return (~is_terminal).float() * cont_discount


def replay_returns(
    reward: Tensor,
    is_last: Tensor,
    is_terminal: Tensor,
    bootstrap: Tensor,
    discount: float,
    lambda_: float,
) -> Tensor:
    """Returns along replayed frames, bootstrapped with dreamed returns (arrival convention).

    A frame that ends its episode stops the sum there: a terminal one contributes nothing more, a
    truncated one its bootstrap. Source: `dreamerv3/agent.py`, `repl_loss`.

    Args:
        reward, is_last, is_terminal, bootstrap: `[B, T]`. discount, lambda_: numbers.

    Returns:
        `[B, T-1]`.
    """
    live = (1 - is_terminal[:, 1:].to(reward.dtype)) * discount
    lam = (1 - is_last[:, 1:].to(reward.dtype)) * lambda_
    return lambda_return(reward[:, 1:], live, bootstrap[:, 1:], lam)
