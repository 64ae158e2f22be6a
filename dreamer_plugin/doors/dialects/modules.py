"""The modules and functions that the reference documents name, in one place.

`docs/dialects-modules.md` lists them. Each is a dress of a part of ours,
which stands inside it as `part`; none computes anything of its own.
"""

from __future__ import annotations

from dreamer_plugin.doors.dialects.modules_functions import (
    compute_lambda_returns,
    ema_update,
    kl_balanced,
    symexp,
    symlog,
)
from dreamer_plugin.doors.dialects.modules_policy import ActionDecoder, ActionDist, ActorCritic
from dreamer_plugin.doors.dialects.modules_predictions import (
    ContinuePredictor,
    DenseDecoder,
    RewardPredictor,
)
from dreamer_plugin.doors.dialects.modules_replay import ReplayBuffer
from dreamer_plugin.doors.dialects.modules_rssm import RSSM
from dreamer_plugin.doors.dialects.modules_vision import ConvDecoder, ConvEncoder
from dreamer_plugin.doors.dialects.modules_world import WorldModel

__all__ = [
    "RSSM",
    "ActionDecoder",
    "ActionDist",
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
]
