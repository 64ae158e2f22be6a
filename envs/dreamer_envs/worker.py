"""Life of a worker: one env in a process of its own, obeying its parent.

    build the env -> tell its spaces -> map the shared arrays -> answer until told to close

What a process started this way may not do is outlive its parent: it leaves the process group, so
that signals meant for the run reach the parent alone, and the system kills it when the fork server
ends, even in the middle of an endless step.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import sys
import traceback
from multiprocessing import forkserver, reduction
from multiprocessing.connection import Connection
from typing import Any

from dreamer_envs import shared, state
from dreamer_envs.errors import FrameError
from dreamer_envs.frames import Frames, Make, advance, common_space, saver

STEP, RESET, GET, SET, CLOSE = b"s", b"r", b"g", b"t", b"c"
OK, FAILED = b"k", b"e"
_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of Linux' prctl


def work(pipe: Connection, maker: Make, row: int, environment: dict[str, str]) -> None:
    """Life of a worker: build the env, meet the parent, answer until told to close.

    Args:
        pipe: the worker's end.
        maker: builds the env.
        row: this worker's row in the shared arrays.
        environment: the parent's variables now; the fork server has those of its own start.
    """
    os.environ.clear()
    os.environ.update(environment)
    _detach()
    try:
        env = maker()
    except Exception as error:
        pipe.send_bytes(FAILED + _describe(error))
        return
    try:
        _serve(pipe, env, row)
    except (EOFError, OSError):
        pass  # the parent is gone; nobody is left to tell
    finally:
        env.close()


def _detach() -> None:
    """Let nothing but the parent, or its death, end this process."""
    # Ctrl-C, `timeout` and batch systems signal whole groups: the parent decides, then closes us.
    # Not SIG_IGN, which a program that the env starts would inherit: it could not be terminated.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    os.setpgid(0, 0)  # what the env starts itself can be ended with it
    faulthandler.enable()  # a crash of native code says where
    # The fork server ends when nobody holds this pipe: the parent alone shall, not its workers.
    server = vars(forkserver._forkserver)
    held = server.get("_forkserver_alive_fd")
    if held is not None:
        server["_forkserver_alive_fd"] = None
        os.close(held)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)


def _serve(pipe: Connection, env: Any, row: int) -> None:
    try:
        about = shared.encode_spaces(
            common_space(env), env.action_space, getattr(env, "can_save", False)
        )
    except ValueError as error:
        pipe.send_bytes(FAILED + _describe(error))
        return
    pipe.send_bytes(OK + about)
    first = pipe.recv_bytes()
    if first == CLOSE:
        return
    arrays = _join_block(pipe, env, int(first))
    frames = shared.as_frames(arrays)
    while (message := pipe.recv_bytes()) != CLOSE:
        try:
            answer = OK + _obey(message, env, arrays, frames, row)
        except Exception as error:
            answer = FAILED + _describe(error)
        pipe.send_bytes(answer)


def _join_block(pipe: Connection, env: Any, num_envs: int) -> shared.Arrays:
    fields = shared.layout(env.observation_space, env.action_space, num_envs)
    handle = reduction.recv_handle(pipe)
    try:
        return shared.carve(mmap.mmap(handle, shared.nbytes(fields)), fields)
    finally:
        os.close(handle)


def _obey(message: bytes, env: Any, arrays: shared.Arrays, frames: Frames, row: int) -> bytes:
    order, payload = message[:1], message[1:]
    if order == STEP:
        advance(env, shared.read_action(env.action_space, arrays, row), False, None, frames, row)
    elif order == RESET:
        advance(env, None, True, int(payload) if payload else None, frames, row)
    elif order == GET:
        return state.dumps(saver(env).get_state())
    elif order == SET:
        saver(env).set_state(state.loads(payload))
    return b""


def _describe(error: BaseException) -> bytes:
    """One line with the error; below it the worker's traceback, unless the line says it all."""
    if isinstance(error, FrameError):
        return str(error).encode(errors="replace")
    trace = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {error}\n--- in the worker ---\n{trace}".encode(
        errors="replace"
    )
