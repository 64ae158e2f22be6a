"""One process per environment: small messages over a pipe, everything large in shared memory.

    parent                                        worker i
    writes action i, sends `s`               ->   steps, writes row i of the frames
    waits for an answer from each            <-   answers `k`, or `e` and a text

Workers come from a fork server that has imported this package only, so they start fast and hold
neither torch nor anything of the caller's program. Messages are single letters, JSON and text;
after a worker has started nothing is unpickled.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import sys
import traceback
import types
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from dreamer_envs import shared, state
from dreamer_envs.errors import EnvError, FrameError
from dreamer_envs.frames import (
    Bools,
    Frames,
    Make,
    VectorEnv,
    advance,
    check_same,
    common_space,
    saver,
)

STEP, RESET, GET, SET, CLOSE = b"s", b"r", b"g", b"t", b"c"
OK, FAILED = b"k", b"e"
PATIENCE = 5.0  # seconds that closing waits before a worker is ended


class ProcessVector(VectorEnv):
    """Steps each env in a process of its own; frames are the same as those of `SerialVector`.

    Args:
        makers: one picklable callable per env: `dreamer_envs.maker(id)`, or a function or class of
            an importable module. One defined in the main script works too, but makes every worker
            run the script's top level.
        seed: as in `SerialVector`.

    Raises:
        EnvError: an env cannot be sent to a process or cannot be built there.
    """

    def __init__(self, makers: Sequence[Make], seed: int = 0) -> None:
        super().__init__(makers, seed)
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._unanswered: set[int] = set()
        # Also when this vector is forgotten, or still open when the interpreter ends.
        self._end = weakref.finalize(self, _end_workers, self._pipes, self._processes)
        try:
            self._start(makers)
            self._meet()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the workers; one that does not answer is killed."""
        self._end()

    def _start(self, makers: Sequence[Make]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dreamer_envs.workers"])
        with _main_script_hidden(self._need_main_script(makers)):
            for i, maker in enumerate(makers):
                ours, theirs = context.Pipe()
                process = context.Process(target=work, args=(theirs, maker, i), daemon=True)
                self._pipes.append(ours)
                process.start()
                theirs.close()
                self._processes.append(process)
                self._unanswered.add(i)

    def _need_main_script(self, makers: Sequence[Make]) -> bool:
        """Whether a maker lives in the main script; also checks that each can be sent at all."""
        needed = False
        for i, maker in enumerate(makers):
            try:
                needed |= b"__main__" in bytes(reduction.ForkingPickler.dumps(maker))
            except Exception as error:
                raise EnvError(
                    f"Env {i} ({self.ids[i]}) cannot be sent to another process ({error}): use "
                    "dreamer_envs.maker(id), or a function or class at the top level of a module."
                ) from error
        return needed

    def _meet(self) -> None:
        """Learns the spaces from the workers and gives them the shared arrays."""
        found = [shared.decode_spaces(self._answer(i)) for i in range(self.num_envs)]
        check_same(self.ids, [(observation, action) for observation, action, _ in found])
        self.observation_space, self.action_space = found[0][0], found[0][1]  # type: ignore[assignment]
        self.can_save = all(can for _, _, can in found)
        fields = shared.layout(self.observation_space, self.action_space, self.num_envs)
        size = shared.nbytes(fields)
        with shared.new_block(size) as file:
            self._arrays = shared.carve(mmap.mmap(file.fileno(), size), fields)
            for pipe, process in zip(self._pipes, self._processes, strict=True):
                pipe.send_bytes(str(self.num_envs).encode())
                reduction.send_handle(pipe, file.fileno(), process.pid)

    def _step(self, actions: Sequence[Any], reset: Bools) -> Frames:
        messages = []
        for i in range(self.num_envs):
            if reset[i]:
                seed = self._seeds[i]
                messages.append(RESET + (b"" if seed is None else str(seed).encode()))
            else:
                shared.write_action(self.action_space, self._arrays, i, actions[i])
                messages.append(STEP)
        self._ask_all(messages)
        return shared.as_frames(self._arrays).copy()

    def _get_states(self) -> list[Any]:
        return [state.loads(answer) for answer in self._ask_all([GET] * self.num_envs)]

    def _set_states(self, states: list[Any]) -> None:
        self._ask_all([SET + state.dumps(saved) for saved in states])

    def _ask_all(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sends each worker its message and waits for all; only then raises the first failure."""
        if not self._pipes:
            raise EnvError("This vector is closed.")
        for i in sorted(self._unanswered):  # an interrupted call left these behind
            self._answer(i)
        for i, message in enumerate(messages):
            try:
                self._pipes[i].send_bytes(message)
            except OSError as error:
                raise self._gone(i) from error
            self._unanswered.add(i)
        answers: list[bytes] = []
        failure: EnvError | None = None
        for i in range(len(messages)):
            try:
                answers.append(self._answer(i))
            except EnvError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return answers

    def _answer(self, i: int) -> bytes:
        try:
            answer = self._pipes[i].recv_bytes()
        except (EOFError, OSError) as error:
            self._unanswered.discard(i)
            raise self._gone(i) from error
        self._unanswered.discard(i)
        if answer[:1] == FAILED:
            raise EnvError(f"Env {i} ({self.ids[i]}) failed: {answer[1:].decode()}")
        return answer[1:]

    def _gone(self, i: int) -> EnvError:
        self._processes[i].join(PATIENCE)
        code = self._processes[i].exitcode
        return EnvError(f"Env {i} ({self.ids[i]}) failed: its process ended with exit code {code}.")


def _end_workers(pipes: list[Connection], processes: list[Any]) -> None:
    for pipe in pipes:
        try:
            pipe.send_bytes(CLOSE)
        except OSError:
            pass  # it is gone already
    for process in processes:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
    for pipe in pipes:
        pipe.close()
    pipes.clear()
    processes.clear()


@contextmanager
def _main_script_hidden(needed: bool) -> Iterator[None]:
    """Keeps new processes from importing the caller's main script, unless a maker is defined there.

    Multiprocessing imports `__main__` in every child; a training script would bring torch along.
    """
    main = sys.modules["__main__"]
    if not needed:
        sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def work(pipe: Connection, maker: Make, row: int) -> None:
    """Life of a worker: build the env, meet the parent, answer until told to close.

    Args:
        pipe: the worker's end.
        maker: builds the env.
        row: this worker's row in the shared arrays.
    """
    # Ctrl-C, `timeout` and batch systems signal whole groups: the parent decides, then closes us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
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
