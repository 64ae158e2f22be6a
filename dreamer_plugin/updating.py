"""What one update consists of: its losses, who learns from them, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.errors import NotFiniteUpdate


@dataclass(frozen=True)
class Losses:
    """What one batch gives: losses, states to write back, numbers to log.

    Args:
        each: loss name to its values, `[B, T]`-like. total: the weighted sum of means, 0-d.
        states: `[B, T]` from the world's `observe`. metrics: name to 0-d tensor.
    """

    each: dict[str, Tensor]
    total: Tensor
    states: TensorDict
    metrics: dict[str, Tensor]


class Turn(NamedTuple):
    """Who learns in an update, and whether the slow critic follows."""

    model: bool
    behavior: bool
    follows: bool


@dataclass(frozen=True)
class Updated:
    """What an update leaves on its device; the host has read nothing of it.

    Args:
        latents: `[B, T]` to write back. metrics: name to 0-d tensor.
        finite: 0-d bool; where it is false, nothing was changed but the noise that was drawn.
        each_finite: bool, of the gradients of the parameters `learning`.
    """

    latents: TensorDict
    metrics: dict[str, Tensor]
    finite: Tensor
    each_finite: Tensor
    learning: list[str]

    def error(self) -> NotFiniteUpdate:
        """What was not finite; the device is waited for."""
        losses = {
            name.removeprefix("loss/"): float(value)
            for name, value in self.metrics.items()
            if name.startswith("loss/")
        }
        gradients = zip(self.learning, self.each_finite.tolist(), strict=True)
        return NotFiniteUpdate(losses, [name for name, fine in gradients if not fine])


def finite_each(grads: Iterable[Tensor]) -> Tensor:
    """Whether all numbers of each gradient are finite, bool `[gradients]`.

    Nor are those whose squares overflow: the optimiser's average would never be finite again.
    """
    return torch.stack(list(torch._foreach_norm(list(grads)))).isfinite()
