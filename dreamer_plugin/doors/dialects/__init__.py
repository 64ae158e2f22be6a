"""Names and calls of the reference documents, over this package; nothing loads before its use."""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = dict.fromkeys(
    (
        "RSSM",
        "ActionDecoder",
        "ActorCritic",
        "ContinuePredictor",
        "ConvDecoder",
        "ConvEncoder",
        "DenseDecoder",
        "ReplayBuffer",
        "RewardPredictor",
        "WorldModel",
        "compute_lambda_returns",
        "ema_update",
        "kl_balanced",
        "symexp",
        "symlog",
    ),
    "dreamer_plugin.doors.dialects.modules",
)
_PLACES |= dict.fromkeys(
    ("Dreamer", "DreamerAgent", "Trainer", "create_model"), "dreamer_plugin.doors.dialects.agents"
)
_PLACES |= dict.fromkeys(
    ("DreamerConfig", "DreamerV3Config"), "dreamer_plugin.doors.dialects.settings"
)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
