"""The documents' functions, over `ops` and `nets.twin`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.twin import move_towards
from dreamer_plugin.ops.divergence import balanced_kl, categorical_kl, two_way_kl
from dreamer_plugin.ops.returns import lambda_return
from dreamer_plugin.ops.scaling import symexp, symlog

__all__ = ["compute_lambda_returns", "ema_update", "kl_balanced", "symexp", "symlog"]

Trajectory = Tensor | Sequence[Tensor]


def compute_lambda_returns(
    rewards: Trajectory,
    continues: Trajectory | None,
    values: Trajectory,
    gamma: float = 0.997,
    lambda_: float = 0.95,
) -> Tensor:
    """Lambda returns of dreams, `V_t = r_t + gamma c_t [(1 - lambda) v_(t+1) + lambda V_(t+1)]`.

    The last value only bootstraps, so K values give K - 1 returns. How many rewards there are tells
    whose they are (`ops.returns` has both tables):

        rewards   values     r_t is earned
        K - 1     v0 … vH    on arriving at state t + 1, as a dream's predictions of next states
        K         v0 … vH    at state t itself; the last one is not used

    Args:
        rewards, continues: `[N, K - 1, ...]` or `[N, K, ...]` tensors, or lists of `[N, ...]`, one
            per step. Continuations are probabilities without the discount; None is all ones.
        values: `[N, K, ...]`, in the units of the rewards.
        gamma: discount. lambda_: mixing of one-step and long returns.

    Returns:
        `[N, K - 1, ...]`, with gradients to everything given.

    Raises:
        UsageError: when the shapes do not go together.
    """
    reward, value = _in_time(rewards), _in_time(values)
    cont = torch.ones_like(reward) if continues is None else _in_time(continues)
    steps = value.shape[1] - 1
    same = reward.shape == cont.shape and reward.shape[2:] == value.shape[2:]
    if steps < 1 or not same or reward.shape[1] - steps not in (0, 1):
        shapes = [list(x.shape) for x in (reward, cont, value)]
        raise UsageError(
            f"rewards {shapes[0]}, continues {shapes[1]} and values {shapes[2]} do not go together:"
            " for values [N, K, ...] the others are [N, K - 1, ...] or [N, K, ...]"
        )
    return lambda_return(reward[:, :steps], gamma * cont[:, :steps], value[:, 1:], lambda_)


def ema_update(source: nn.Module, target: nn.Module, decay: float) -> None:
    """`target <- decay * target + (1 - decay) * source` for all parameters, in place.

    Args:
        source: such as a critic. target: its slow copy. decay: 0.98 in the documents.

    Raises:
        UsageError: when the modules are not of one make, or decay is outside [0, 1].
    """
    if not 0 <= decay <= 1:
        raise UsageError(f"decay is {decay}, but must be from 0 to 1; 0.98 is usual")
    shapes = [[tuple(param.shape) for param in module.parameters()] for module in (source, target)]
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"the target has parameters of shapes {shapes[1]}, the source of {shapes[0]}: make the "
            "target with copy.deepcopy(source)"
        )
    move_towards(target, source, 1 - decay)


def kl_balanced(
    posterior: Tensor,
    prior: Tensor,
    kl_balance: float = 0.8,
    free_nats: float = 1.0,
    form: str = "forward_reverse",
) -> Tensor:
    """Mean balanced KL of categorical logits; the two documents that name it mean two things.

        forward_reverse   a max(KL(q || p), free) + (1 - a) max(KL(p || q), free)
        balanced          a max(KL(sg(q) || p), free) + (1 - a) max(KL(q || sg(p)), free)

    Args:
        posterior, prior: logits `[..., S, K]`; variables are summed before the floor.
        kl_balance: a. free_nats: the floor. form: of the table; the first is that of the document
            with this function, the second trains the prior and the posterior apart.
    """
    floored = choose(_FORMS, form, "form of the balanced KL")
    log_q, log_p = torch.log_softmax(posterior, -1), torch.log_softmax(prior, -1)
    ahead, back = floored(categorical_kl, log_q, log_p, free_nats)
    return (kl_balance * ahead + (1 - kl_balance) * back).mean()


_FORMS = {"forward_reverse": two_way_kl, "balanced": balanced_kl}


def _in_time(given: Trajectory) -> Tensor:
    return given if isinstance(given, Tensor) else torch.stack(list(given), 1)
