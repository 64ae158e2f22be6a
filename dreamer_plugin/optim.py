"""Optimisers with the official chain and schedules, over groups that have numbers of their own.

Chain on float32 gradients: clip by the group's global norm -> clip by each parameter's own norm ->
direction, from LaProp or Adam -> times the negative learning rate, added to decayed parameters.
Source: danijar/dreamerv3 @ e3f0224, `embodied/jax/opt.py` and `dreamerv3/agent.py`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor


def learning_rate(
    update: int,
    lr: float,
    warmup: int = 0,
    anneal: int = 0,
    schedule: str = "constant",
    lr_end: float = 0.1,
) -> float:
    """Learning rate of update number `update`, counted from 0.

    Linear from 0 during `warmup` updates (so the first one changes nothing), then constant, or down
    over the `anneal - warmup` updates that follow: linearly to `lr_end * lr`, or by a cosine to
    `lr_end * lr * lr`, since the official code gives the end value where a share is asked for.

    Args:
        schedule: `"constant"`, `"linear"` or `"cosine"`. lr_end: 0.1 in the official code.
    """
    if warmup and update < warmup:
        return lr * update / warmup
    if schedule == "constant":
        return lr
    share = min(max((update - warmup) / max(anneal - warmup, 1), 0.0), 1.0)
    if schedule == "linear":
        return lr + share * (lr_end * lr - lr)
    if schedule == "cosine":
        end = lr_end * lr
        return lr * ((1 - end) * 0.5 * (1 + math.cos(math.pi * share)) + end)
    raise ValueError(f"unknown optim.schedule {schedule!r}; valid: constant, linear, cosine")


def clip_adaptive_(grads: list[Tensor], params: list[Tensor], clip: float, floor: float) -> Tensor:
    """Shrink each gradient to at most `clip` times the norm of its parameter, in place.

    Returns the norm of them all before that. Limits go by whole tensors, the parameter's norm is at
    least `floor`. Source: Brock et al. 2021 (AGC), per tensor instead of per unit as in `opt.py`.
    """
    norms = torch.stack(torch._foreach_norm(grads))
    limits = clip * torch.stack(torch._foreach_norm(params)).clamp(min=floor)
    shrink = 1 / torch.clamp(norms / limits, min=1.0)
    torch._foreach_mul_(grads, list(shrink.unbind()))
    return norms.norm()


def clip_global_(grads: list[Tensor], clip: float) -> Tensor:
    """Shrink gradients together so that the norm of them all, returned, is at most `clip`."""
    norm = torch.stack(torch._foreach_norm(grads)).norm()
    torch._foreach_mul_(grads, clip / norm.clamp(min=clip))
    return norm


@dataclass(frozen=True)
class Turns:
    """Who learns in which update: both in every one, or each in its turn.

        model 2, behavior 3    update    0  1  2  3  4  5  6  7  …
                               learns    m  m  b  b  b  m  m  b

    Args:
        model, behavior: updates in a row; both 0 is together.
    """

    model: int = 0
    behavior: int = 0

    def learns(self, part: str, update: int) -> bool:
        """Whether `"model"` or `"behavior"` learns in update number `update`, counted from 0."""
        together = self.model + self.behavior
        return not together or (update % together < self.model) is (part == "model")

    def made(self, part: str, updates: int) -> int:
        """In how many of the first `updates` updates `part` has learned."""
        together = self.model + self.behavior
        if not together:
            return updates
        rounds, rest = divmod(updates, together)
        model = rounds * self.model + min(rest, self.model)
        return model if part == "model" else updates - model


Number: TypeAlias = float | Tensor  # a tensor is 0-d, on the parameters' device


class Numbers(NamedTuple):
    """What differs in a group's step from update to update.

    Args:
        rate: learning rate. keep: what decay leaves of a parameter.
        square, momentum: share of their averages that has been filled since they were zero.
    """

    rate: Number
    keep: Number
    square: Number
    momentum: Number


_SLOTS = ("square", "momentum")
_COUNTS = ("updates", "begun")


class _Gate:
    """What keeps averages and parameters as they are where a flag on the device is false.

    Gradients become zero then, and every factor that would still change something becomes that
    which does not. The flag is never read by the host.

    Args:
        finite: 0-d bool, None where all is to change.
    """

    def __init__(self, finite: Tensor | None = None) -> None:
        self._finite = finite

    def factor(self, x: Number) -> Number:
        """`x`, else 1."""
        return x if self._finite is None else torch.where(self._finite, x, 1.0)

    def divisor(self, x: Number) -> Number:
        """`x`, else infinity."""
        return x if self._finite is None else torch.where(self._finite, x, math.inf)

    def clear_(self, grads: Iterable[Tensor]) -> None:
        """Zeros instead of gradients."""
        if self._finite is not None:
            odd = ~self._finite
            for grad in grads:
                grad.masked_fill_(odd, 0.0)


class GroupedOptimizer(torch.optim.Optimizer):
    """What both optimisers share: groups, clipping, schedule, decay; a subclass has the direction.

    Args:
        params: parameters or groups; a group's `lr`, `eps`, `clip` and `weight_decay` override the
            arguments. Groups with one `name` are clipped together, as are groups without.
        lr, beta1, beta2, eps: `eps` is added outside the square root.
        raw_eps: add it to the root before the bias correction, as TensorFlow does, where it counts
            for more in early updates: the epsilon hat of Kingma & Ba 2015, before section 2.1.
        agc: factor of the adaptive clipping, 0 is off. agc_min: floor of the parameter norm.
        warmup, anneal, schedule, lr_end: see `learning_rate`.
        weight_decay: decoupled. nesterov: look ahead in the momentum.
        clip: largest global norm, 0 is off.
        decay_by_rate: whether the learning rate scales the decay, too (V2: no).
        turns: who learns when. The group named `model` is the model, all others are the behavior,
            unless they learn together; rates and averages go by a group's own updates.

    Attributes:
        norms: of the last update's gradients before they were clipped, by name of the group, 0-d;
            only of groups that are clipped.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 4e-5,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-20,
        agc: float = 0.3,
        agc_min: float = 1e-3,
        warmup: int = 1000,
        anneal: int = 0,
        schedule: str = "constant",
        lr_end: float = 0.1,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        clip: float = 0.0,
        decay_by_rate: bool = True,
        raw_eps: bool = False,
        turns: Turns | None = None,
    ) -> None:
        self.turns = turns or Turns()
        self.decay_by_rate, self.raw_eps = decay_by_rate, raw_eps
        self.beta1, self.beta2 = beta1, beta2
        self.agc, self.agc_min, self.nesterov = agc, agc_min, nesterov
        self.schedule = partial(
            learning_rate, warmup=warmup, anneal=anneal, schedule=schedule, lr_end=lr_end
        )
        self.updates = 0
        self.begun = 0  # how many of them the averages have not seen
        self._gate = _Gate()
        self.norms: dict[str, Tensor] = {}
        defaults = {"lr": lr, "eps": eps, "clip": clip, "weight_decay": weight_decay, "name": ""}
        super().__init__(params, defaults)

    def __getstate__(self) -> dict[str, Any]:
        """All of it, for copies; torch's own form has groups and slots alone."""
        return self.__dict__.copy()

    def state_dict(self) -> dict[str, Any]:
        """Groups and slots as torch has them, and the number of updates."""
        return {**super().state_dict(), **{name: getattr(self, name) for name in _COUNTS}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`.

        Raises:
            ValueError: when it is of another kind of optimiser, or of other groups.
        """
        if lacking := {*_COUNTS} - set(state_dict):
            raise ValueError(f"the state lacks {sorted(lacking)}: it is of another optimiser")
        super().load_state_dict(state_dict)
        self.updates, self.begun = int(state_dict["updates"]), int(state_dict["begun"])

    def move(self) -> None:
        """Put averages where their parameters are now."""
        for param, slots in self.state.items():
            slots.update({name: value.to(param.device) for name, value in slots.items()})

    def named_state(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Averages as `{slot}.{parameter}` and the counts: what an exact resume needs, flat.

        Args:
            params: name -> parameter.
        """
        slots = {
            f"{slot}.{name}": value
            for name, param in params.items()
            for slot, value in self.state.get(param, {}).items()
        }
        return slots | {name: torch.tensor(getattr(self, name)) for name in _COUNTS}

    def refuse_other(self, state: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> None:
        """What `load_named_state` could not go on from.

        Raises:
            ValueError: when the number of updates or one of a parameter's averages is missing, or
                an average belongs to no parameter, has another shape, or is not finite.
        """
        if "updates" not in state:
            raise ValueError("the optimiser's number of updates is missing")
        found: dict[str, set[str]] = {}
        for key, value in state.items():
            if key in _COUNTS:
                continue
            slot, _, name = key.partition(".")
            if name not in params or params[name].shape != value.shape:
                raise ValueError(f"{key} of shape {[*value.shape]} fits no parameter")
            if not value.isfinite().all():
                raise ValueError(f"{key} is not finite")
            found.setdefault(name, set()).add(slot)
        if odd := [name for name, slots in found.items() if slots != {*_SLOTS}]:
            raise ValueError(
                f"each parameter that has learned needs {' and '.join(_SLOTS)}; {odd[0]} has "
                f"{sorted(found[odd[0]])}"
            )

    def load_named_state(self, state: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> None:
        """The inverse of `named_state`, copied; for what `refuse_other` lets pass."""
        self.state.clear()
        for key, value in state.items():
            if key not in _COUNTS:
                slot, _, name = key.partition(".")
                self.state[params[name]][slot] = torch.empty_like(params[name]).copy_(value)
        self.updates = int(state["updates"])
        # Averages that were not saved with the weights begin here; older states never lack them.
        self.begun = int(state.get("begun", 0)) if self.state else self.updates

    def numbers(self) -> list[Numbers]:
        """Of the coming update, by group; those of one that does not learn mean nothing."""
        return [self._numbers(group) for group in self.param_groups]

    def _numbers(self, group: dict[str, Any]) -> Numbers:
        part = "model" if group["name"] == "model" else "behavior"
        # Its own updates, this one included, and those of them that the averages have seen.
        made, begun = (self.turns.made(part, n) for n in (self.updates + 1, self.begun))
        rate = self.schedule(made - 1, group["lr"])
        decay = group["weight_decay"] * (rate if self.decay_by_rate else 1.0)
        filled = (1 - beta ** (made - begun) for beta in (self.beta2, self.beta1))
        return Numbers(rate, 1 - decay, *filled)

    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        closure: Callable[[], float] | None = None,
        finite: Tensor | None = None,
        numbers: Sequence[Numbers] | None = None,
    ) -> None:
        """One update of every parameter that has a gradient; gradients are clipped in place.

        Args:
            closure: refused.
            finite: 0-d bool on the parameters' device. If it is false, parameters and averages stay
                as they are and gradients become zero; `updates` counts it. The host does not wait.
            numbers: of this update, by default `numbers()`.
        """
        if closure is not None:
            name = type(self).__name__
            raise ValueError(f"{name} takes no closure: call backward, then step")
        self._gate = _Gate(finite)
        self._gate.clear_(
            p.grad for g in self.param_groups for p in g["params"] if p.grad is not None
        )
        self._clip_groups()
        numbers = numbers or self.numbers()
        self.updates += 1
        for group, own in zip(self.param_groups, numbers, strict=True):
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step_group(group, params, own)

    def _clip_groups(self) -> None:
        self.norms = {}
        for name in dict.fromkeys(group["name"] for group in self.param_groups):
            groups = [group for group in self.param_groups if group["name"] == name]
            grads = [p.grad for g in groups for p in g["params"] if p.grad is not None]
            if grads and groups[0]["clip"]:
                self.norms[name] = clip_global_(grads, groups[0]["clip"])

    def _step_group(self, group: dict[str, Any], params: list[Tensor], numbers: Numbers) -> None:
        """One step of the group's parameters that have a gradient."""
        grads = [p.grad for p in params if p.grad is not None]
        if self.agc:
            norm = clip_adaptive_(grads, params, self.agc, self.agc_min)
            if not group["clip"]:
                before = self.norms.get(group["name"])
                self.norms[group["name"]] = norm if before is None else torch.hypot(before, norm)
        squares = [self._slot(p, "square") for p in params]
        momenta = [self._slot(p, "momentum") for p in params]
        torch._foreach_mul_(squares, self._gate.factor(self.beta2))
        torch._foreach_addcmul_(squares, grads, grads, 1 - self.beta2)
        scale = torch._foreach_div(squares, numbers.square)
        torch._foreach_sqrt_(scale)
        eps = group["eps"]
        torch._foreach_add_(scale, eps / numbers.square**0.5 if self.raw_eps else eps)
        update = self._direction(grads, list(scale), momenta, numbers.momentum)
        if group["weight_decay"]:
            torch._foreach_mul_(params, self._gate.factor(numbers.keep))
        if isinstance(numbers.rate, Tensor):
            torch._foreach_mul_(update, numbers.rate)
            torch._foreach_sub_(params, update)
        else:
            torch._foreach_add_(params, update, alpha=-numbers.rate)

    @abstractmethod
    def _direction(
        self,
        grads: list[Tensor],
        scale: list[Tensor],
        momenta: list[Tensor],
        filled: Number,
    ) -> list[Tensor]:
        """Move the momenta, and give what is subtracted before decay and learning rate.

        Args:
            grads: clipped. scale: root mean square plus eps. momenta: to be changed in place.
            filled: as of `Numbers.momentum`.

        Returns:
            Tensors of its own.
        """

    def _slot(self, param: Tensor, name: str) -> Tensor:
        state = self.state[param]
        if name not in state:
            state[name] = torch.zeros_like(param)
        slot: Tensor = state[name]
        return slot

    def _averaged(self, momenta: list[Tensor], new: list[Tensor], filled: Number) -> list[Tensor]:
        """Take `new` into the momenta; returns them with bias correction, zeros for no step."""
        rest = 1 - self.beta1
        torch._foreach_mul_(momenta, self._gate.factor(self.beta1))
        torch._foreach_add_(momenta, new, alpha=rest)
        ahead = torch._foreach_lerp(momenta, new, rest) if self.nesterov else momenta
        return list(torch._foreach_div(ahead, self._gate.divisor(filled)))


class LaProp(GroupedOptimizer):
    """RMS normalisation first, momentum after it (Ziyin et al. 2020)."""

    def _direction(
        self,
        grads: list[Tensor],
        scale: list[Tensor],
        momenta: list[Tensor],
        filled: Number,
    ) -> list[Tensor]:
        return self._averaged(momenta, list(torch._foreach_div(grads, scale)), filled)


class Adam(GroupedOptimizer):
    """Momentum of the gradient over its root mean square (Kingma & Ba 2015)."""

    def _direction(
        self,
        grads: list[Tensor],
        scale: list[Tensor],
        momenta: list[Tensor],
        filled: Number,
    ) -> list[Tensor]:
        return list(torch._foreach_div(self._averaged(momenta, grads, filled), scale))
