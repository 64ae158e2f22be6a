"""How large the seeds are that simulators take; larger ones are taken modulo these."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

SEED_LIMIT = 2**31  # where a seed is a signed number of 32 bits
WIDE_SEED_LIMIT = 2**32  # where it is an unsigned one


def simulator_seed(env: gym.Env[Any, Any], seed: int | None) -> int | None:
    """Seed that a reset builds a simulator from; None where the one that is there goes on.

    Gymnasium's rule: an env that never had a seed draws one from the system's entropy, once.

    Args:
        env: after `gym.Env.reset`. seed: given to that.
    """
    if seed is None and env._np_random is None:
        return int(env.np_random.integers(SEED_LIMIT))
    return seed
