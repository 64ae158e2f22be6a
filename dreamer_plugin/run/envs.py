"""How the envs of a run come to be: makers, and a vector of them in this process or in others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

import dreamer_envs
from dreamer_envs.vector import ProcessVector, SerialVector, VectorEnv
from dreamer_plugin.config import Config
from dreamer_plugin.errors import UsageError

EnvMaker = Callable[[], "gym.Env[Any, Any]"]


@dataclass(frozen=True)
class EnvSource:
    """Makes vectors of envs.

    Args:
        makers: one per env of the run; each call gives an env with Dict observations, as
            `dreamer_envs.make` and `dreamer_envs.wrap` return it.
        processes: one process per env, instead of all in this one.
        terminal_on_timeout: records count a time limit as a terminal state.
        fresh: whether a maker gives a new env at each call; False where it hands out the one
            object a user passed.
    """

    makers: Sequence[EnvMaker]
    processes: bool = False
    terminal_on_timeout: bool = False
    fresh: bool = True

    def vector(self, seed: int, count: int | None = None) -> VectorEnv:
        """`count` envs (all of the run by default), seeded from `[seed, position]`."""
        count = len(self.makers) if count is None else count
        makers = [self.makers[i % len(self.makers)] for i in range(count)]
        return (ProcessVector if self.processes else SerialVector)(makers, seed)

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
        UsageError: when there is neither an id nor a maker.
    """
    env = cfg.env
    if makers is None:
        if not env.id:
            raise UsageError("No env: pass --env ID; `dreamer-plugin envs` lists them.")
        makers = [dreamer_envs.maker(env.id, **env.options)] * env.num_envs
    # A process per env pays off only when there are several to run side by side.
    processes = env.processes and len(makers) > 1
    return EnvSource(tuple(makers), processes, env.terminal_on_timeout)
