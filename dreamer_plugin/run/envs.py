"""How the envs of a run come to be: makers, and a vector of them.

equal makers of a suite with a pool (EnvPool)    one library call steps them all, on its threads
supervision                                      a process each, restarted where it fails
otherwise                                        this process, one after another
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym

import dreamer_envs
from dreamer_envs.vector import (
    PoolVector,
    SerialVector,
    SupervisedVector,
    Supervision,
    VectorEnv,
    pool_of,
)
from dreamer_plugin.config import Config
from dreamer_plugin.config.trust import usable
from dreamer_plugin.errors import UsageError

EnvMaker = Callable[[], "gym.Env[Any, Any]"]


@dataclass(frozen=True)
class EnvSource:
    """Makes vectors of envs.

    Args:
        makers: one per env of the run; each call gives an env with Dict observations, as
            `dreamer_envs.make` and `dreamer_envs.wrap` return it.
        supervision: what is done about envs that fail, one process per env; None steps all of them
            in this process, where a failure of one ends the run. Envs of a pool are in this process
            whatever it is.
        terminal_on_timeout: records count a time limit as a terminal state.
        fresh: whether a maker gives a new env at each call; False where it hands out the one
            object a user passed.
    """

    makers: Sequence[EnvMaker]
    supervision: Supervision | None = None
    terminal_on_timeout: bool = False
    fresh: bool = True

    def vector(self, seed: int, count: int | None = None) -> VectorEnv:
        """Envs seeded from `[seed, position]`.

        Args:
            count: how many, none of which may be given up; those of the run by default.

        Raises:
            UsageError: when more are wanted than there are objects, which cannot be made anew.
        """
        rules, all_count = self.supervision, len(self.makers)
        if not self.fresh and count and count > all_count:
            raise UsageError(
                f"{count} envs side by side, but an env that is passed as an object is there only "
                f"once: at most {all_count}, or pass an id, a class or a function."
            )
        makers = [self.makers[i % all_count] for i in range(count or all_count)]
        if pool_of(makers) is not None:
            return PoolVector(makers, seed)
        if rules is None:
            return SerialVector(makers, seed)
        return SupervisedVector(makers, seed, replace(rules, min_envs=count) if count else rules)

    def action_repeat(self) -> int:
        """Simulator frames per agent step; makes an env to ask it."""
        env = self.makers[0]()
        try:
            return int(env.get_wrapper_attr("action_repeat"))
        finally:
            env.close()


def source_of(cfg: Config, makers: Sequence[EnvMaker] | None = None) -> EnvSource:
    """The envs that a config asks for.

    Args:
        cfg: its `env` section is read.
        makers: envs to use instead of those that `cfg.env.id` names.

    Raises:
        UsageError: when there is neither an id nor a maker, or an option is a secret that was not
            saved.
    """
    env = cfg.env
    if makers is None:
        if not env.id:
            raise UsageError(
                "No env: a new run takes --env ID; `dreamer-plugin envs` lists them. An agent that "
                "was trained on an env object takes it from Dreamer.load(RUN, env=YourEnv)."
            )
        makers = [dreamer_envs.maker(env.id, **usable(env.options))] * env.num_envs
    rules = None
    if env.processes:
        rules = Supervision(env.timeout, env.max_faults, min(env.min_envs, len(makers)))
    return EnvSource(tuple(makers), rules, env.terminal_on_timeout)
