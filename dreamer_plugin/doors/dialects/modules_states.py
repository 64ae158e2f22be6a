"""Latent states as the documents hand them about, as features.

{"deter": [..., D], "stoch": [..., S*K]}      what `RSSM` returns; the sample is flat
(state, prior_logits)                         what `imagine_step` returns, not unpacked
[h, z]                                        the two tensors
[state, state, ...]                           a dream; time becomes axis 1
features [..., D + S*K]                       `get_features`, deterministic part first
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

import torch
from torch import Tensor

from dreamer_plugin.errors import UsageError

State: TypeAlias = Mapping[str, Tensor]
StateLike: TypeAlias = State | tuple[State, Tensor]
FeatureLike: TypeAlias = Tensor | StateLike | Sequence[Tensor] | Sequence[StateLike]


def state_of(given: StateLike) -> State:
    """The state, also where it still has its prior beside it."""
    state = given[0] if isinstance(given, tuple) else given
    if not isinstance(state, Mapping) or not {"deter", "stoch"} <= set(state):
        raise UsageError(f"a state is a dict with 'deter' and 'stoch', got {type(state).__name__}")
    return state


def is_state(given: object) -> TypeGuard[StateLike]:
    """Whether `state_of` takes it."""
    first = given[0] if isinstance(given, tuple) and given else given
    return isinstance(first, Mapping)


def features_of(given: FeatureLike) -> Tensor:
    """Features `[..., F]` of any form in the table above."""
    if isinstance(given, Tensor):
        return given
    if is_state(given):
        state = state_of(given)
        deter, stoch = state["deter"], state["stoch"]
        return torch.cat([deter, stoch.flatten(deter.ndim - 1)], -1)
    several: list[Any] = list(given)
    if not several:
        raise UsageError("no states given: a list of features or states holds at least one")
    if is_state(several[0]):
        return torch.stack([features_of(state) for state in several], 1)
    return torch.cat(several, -1)
