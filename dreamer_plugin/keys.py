"""TensorDict keys of records and of what acts, once, with their shapes.

B batch, T time, A encoded action, D deter, S groups, K classes. A record is one arriving frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tensordict import TensorDict

Fields: TypeAlias = "Mapping[str, Any] | TensorDict"  # read by these keys, whatever holds them

OBS = "obs"  # nested: one entry per observation, image uint8 [H, W, C] or float32 vector
ACTION = "action"  # [A] float32, taken from this frame; zeros at the last frame of an episode
PREV_ACTION = "prev_action"  # [A] float32, led to this frame
REWARD = "reward"  # [] float32, earned on arriving here
IS_FIRST = "is_first"  # [] bool, reset frame
IS_LAST = "is_last"  # [] bool, the episode ends here for any reason
IS_TERMINAL = "is_terminal"  # [] bool, the episode ends here by the task
DETER = "deter"  # [D] recurrent state
STOCH = "stoch"  # [S, K] sample, or its storage form: uint8 class index [S]
INDEX = "index"  # [] int64, position in replay, opaque; needed for the write-back
