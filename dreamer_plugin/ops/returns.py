"""Lambda returns: one recursion, and the arrangers that cut its slices from a trajectory.

Arrival convention (V3): a reward belongs to the state it arrives with, and a state's value does
not include that state's own reward.

    state    s0    s1    s2   …   sH
    reward   -     r1    r2       rH        (r0 is not used)
    cont     c0    c1    c2       cH        (c0 only enters the weights)
    value    v0    v1    v2       vH
    return   G0    G1    …    G(H-1)        G(t) = r(t+1) + d(t+1) [(1-l) v(t+1) + l G(t+1)]
"""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_return(
    reward_tp1: Tensor, discount_tp1: Tensor, value_tp1: Tensor, lambda_tp1: Tensor | float
) -> Tensor:
    """Backward recursion `G_t = r_{t+1} + d_{t+1} [(1 - l_{t+1}) v_{t+1} + l_{t+1} G_{t+1}]`.

    Starts from `G_H = v_H`. Time is axis 1; index t of an input holds its value at t + 1,
    t = 0 … H-1.

    Args:
        reward_tp1: `[N, H, ...]`.
        discount_tp1: `[N, H, ...]`, probability of going on times the discount.
        value_tp1: `[N, H, ...]`, bootstrap values.
        lambda_tp1: `[N, H, ...]` or one number.

    Returns:
        `[N, H, ...]`. Source: Sutton & Barto eq. 12.18; `dreamerv3/agent.py`, `lambda_return`.
    """
    lam = torch.as_tensor(lambda_tp1, dtype=value_tp1.dtype, device=value_tp1.device)
    lam = lam.expand_as(value_tp1)
    one_step = reward_tp1 + (1 - lam) * discount_tp1 * value_tp1
    carried = lam * discount_tp1
    ret = value_tp1[:, -1]
    returns = []
    for t in reversed(range(value_tp1.shape[1])):
        ret = one_step[:, t] + carried[:, t] * ret
        returns.append(ret)
    return torch.stack(returns[::-1], 1)


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
