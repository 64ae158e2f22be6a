"""The other side of `remote`: one env, obeying the messages that come over a socket."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from dreamer_envs import registry, shared, wire
from dreamer_envs.errors import EnvsError

_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of Linux' prctl


def serve(handle: int, tied: bool) -> None:
    """Obeys until the other side is gone.

    Args:
        handle: number of the open socket.
        tied: whether to end at once with the thread that started this process, even within a step;
            else it ends when it next looks at the socket.
    """
    _detach(tied)
    with socket.socket(fileno=handle) as link:
        worker = _Worker()
        try:
            while True:
                wire.send(link, worker.answer(*wire.receive(link)))
        except (EOFError, OSError):
            pass  # nobody is left to tell
        finally:
            worker.close()


class _Worker:
    """The env, and what can be asked of it."""

    def __init__(self) -> None:
        self._env: Any = None

    def answer(self, order: str, *arguments: Any) -> bytes:
        """The message that the other side gets for an order."""
        orders: dict[str, Callable[..., Any]] = {
            "make": self._make,
            "reset": self._reset,
            "step": self._step,
            "render": lambda: self._env.render(),
            "get_state": lambda: self._env.get_state(),
            "set_state": lambda saved: self._env.set_state(saved),
        }
        try:
            return wire.pack({"ok": orders[order](*arguments)})
        except EnvsError as error:
            return wire.pack({"error": str(error), "kind": type(error).__name__})
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            return wire.pack({"error": said, "kind": "EnvError"})

    def close(self) -> None:
        if self._env is not None:
            self._env.close()

    def _make(self, id: str, options: dict[str, Any]) -> dict[str, Any]:
        self._env = registry.make(id, **options)
        env = self._env
        described = shared.encode_spaces(env.observation_space, env.action_space, env.can_save)
        return {
            "spaces": described.decode(),
            "action_repeat": env.action_repeat,
            "render_mode": env.render_mode,
            "metadata": wire.plain(env.metadata),
        }

    def _reset(self, seed: int | None, options: dict[str, Any]) -> Any:
        obs, info = self._env.reset(seed=seed, options=options or None)
        return [obs, wire.plain(info)]

    def _step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self._env.step(action)
        return [obs, reward, terminated, truncated, wire.plain(info)]


def _detach(tied: bool) -> None:
    """The other side alone ends this process; what simulators print goes to the errors."""
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if tied and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
