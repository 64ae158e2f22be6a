"""Copies of a module that follow it, and modules whose parameters are others for a while."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dreamer_plugin.errors import UsageError


class SlowCopy(nn.Module):
    """A copy that moves towards its source by a fixed share every few updates.

    `slow <- rate * source + (1 - rate) * slow`; rate 1 is a hard copy. It never receives
    gradients. Source: `embodied/jax/utils.py`, SlowModel.

    Args:
        source: the module to follow; it is not stored inside.
        rate: share taken over, in (0, 1]. every: updates between two moves.
    """

    def __init__(self, source: nn.Module, rate: float, every: int = 1) -> None:
        super().__init__()
        if not (0 < rate <= 1 and every >= 1):
            raise UsageError(
                "behavior.critic.slow_rate must be over 0 and at most 1, slow_every at least 1; "
                f"got {rate}, {every}"
            )
        self.copy = copy.deepcopy(source).requires_grad_(False)
        self.rate = rate
        self.every = every

    def due(self, update: int) -> bool:
        """Whether it moves after update number `update`, counted from 0."""
        return update % self.every == 0

    def follow(self, source: nn.Module, finite: Tensor | None = None) -> None:
        """Move towards `source`.

        Args:
            finite: 0-d bool on its device; if it is false, it stays where it is.
        """
        rate = self.rate if finite is None else torch.where(finite, self.rate, 0.0)
        move_towards(self.copy, source, rate)

    def forward(self, *args: Tensor) -> object:
        """What the copied module returns."""
        return self.copy(*args)


@torch.no_grad()
def move_towards(slow: nn.Module, fast: nn.Module, rate: float | Tensor) -> None:
    """`slow <- rate * fast + (1 - rate) * slow` for all parameters of two modules of one make.

    A rate on the device, 0-d, is not read by the host.
    """
    ours: list[Tensor] = list(slow.parameters())
    theirs: list[Tensor] = list(fast.parameters())
    weight: Any = [rate] * len(ours) if isinstance(rate, Tensor) else rate
    torch._foreach_lerp_(ours, theirs, weight)


def as_data(module: nn.Module) -> Callable[..., Any]:
    """A module as a function whose parameters are data; gradients pass it to its inputs alone.

    It changes no parameter, as `frozen` does for a while, and so may stand in compiled code.
    """
    params = {name: param.detach() for name, param in module.named_parameters()}
    return lambda *args: functional_call(module, params, args)


class _Taken(nn.Module):
    """A function of modules as a module of its own, which can be given other parameters."""

    def __init__(self, function: Callable[..., Any], modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.function, self.taken = function, nn.ModuleList(modules)

    def forward(self, *args: Any) -> Any:
        return self.function(*self.taken, *args)


@torch.no_grad()
def rounded_once(
    function: Callable[..., Any], modules: Sequence[nn.Module], dtype: torch.dtype, *args: Any
) -> Any:
    """`function(*modules, *args)` without a graph, the modules' matrices in a type of less.

    Autocast rounds a part of a matrix at each call, compiled code every matrix.

    Args:
        dtype: in which autocast multiplies; float32 rounds and copies nothing.
    """
    taken = _Taken(function, modules)
    named = taken.named_parameters()
    matrices = {name: param.to(dtype) for name, param in named if param.dim() > 1}
    return functional_call(taken, matrices, args)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """What is computed inside trains what lies before `modules`, never their own parameters."""
    params = [p for module in modules for p in module.parameters() if p.requires_grad]
    for param in params:
        param.requires_grad_(False)
    try:
        yield
    finally:
        for param in params:
            param.requires_grad_(True)
