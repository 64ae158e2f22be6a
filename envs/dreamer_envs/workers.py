"""One process per environment: small messages over a pipe, everything large in shared memory.

    parent                                        worker i
    send:     writes action i, sends `s`     ->   steps, writes row i of the frames
    receive:  waits for an answer from each  <-   answers `k`, or `e` and a text

Workers come from a fork server that has imported this package only, so they start fast and hold
neither torch nor anything of the caller's program. Messages are single letters, JSON and text;
after a worker has started nothing is unpickled. `worker.py` has the other side.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import sys
import time
import types
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from dreamer_envs import shared, state
from dreamer_envs.errors import EnvError
from dreamer_envs.frames import Bools, Frames, Make, VectorEnv, check_same
from dreamer_envs.worker import CLOSE, FAILED, GET, RESET, SET, STEP, work

IN_THIS_PROCESS = (
    "let the envs run in this process (env.processes=false, in Python env__processes=False)"
)
PATIENCE = 5.0  # seconds that closing waits before a worker is ended


class ProcessVector(VectorEnv):
    """Steps each env in a process of its own; frames are the same as those of `SerialVector`.

    A failure of an env is an error here; `SupervisedVector` restarts it instead.

    Args:
        makers: one picklable callable per env: `dreamer_envs.maker(id)`, or a function or class of
            an importable module. One defined in the main script works too, but makes every worker
            run the script's top level.
        seed: as in `SerialVector`.

    Raises:
        EnvError: an env cannot be sent to a process or cannot be built there.
    """

    ahead = True
    start: float | None = None  # seconds that building an env may take

    def __init__(self, makers: Sequence[Make], seed: int = 0) -> None:
        super().__init__(makers, seed)
        self._makers = list(makers)
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._blocks: list[Any] = []  # the open file of the shared arrays
        self._unanswered: set[int] = set()
        # Also when this vector is forgotten, or still open when the interpreter ends.
        self._end = weakref.finalize(self, _end_workers, self._pipes, self._processes, self._blocks)
        try:
            self._need_main = self._need_main_script()
            for i in range(self.num_envs):
                pipe, process = self._launch(i)
                self._pipes.append(pipe)
                self._processes.append(process)
                self._unanswered.add(i)
            self._meet()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the workers; one that does not answer is killed."""
        self._end()

    def _launch(self, i: int) -> tuple[Connection, Any]:
        """Starts a process for env i; its first answer will tell the spaces."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dreamer_envs.worker"])
        with _main_script_hidden(self._need_main):
            ours, theirs = context.Pipe()
            given = (theirs, self._makers[i], i, dict(os.environ))
            process = context.Process(target=work, args=given, daemon=True)
            try:
                process.start()
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
        return ours, process

    def _need_main_script(self) -> bool:
        """Whether a maker lives in the main script; also checks that each can be sent at all."""
        needed = False
        for i, maker in enumerate(self._makers):
            try:
                needed |= b"__main__" in bytes(reduction.ForkingPickler.dumps(maker))
            except Exception as error:
                raise EnvError(
                    f"Env {i} ({self.ids[i]}) cannot be sent to another process ({error}): use "
                    "dreamer_envs.maker(id), or a function or class at the top level of a module."
                ) from error
        if needed and not hasattr(sys.modules["__main__"], "__file__"):
            raise EnvError(
                f"Env 0 ({self.ids[0]}) is defined in an interactive session, which a process of "
                f"its own cannot see: move it to a module, or {IN_THIS_PROCESS}."
            )
        return needed

    def _meet(self) -> None:
        """Learns the spaces from the workers and gives them the shared arrays."""
        found = [shared.decode_spaces(self._built(i)) for i in range(self.num_envs)]
        check_same(self.ids, [(observation, action) for observation, action, _ in found])
        self.observation_space, self.action_space = found[0][0], found[0][1]  # type: ignore[assignment]
        self.can_save = all(can for _, _, can in found)
        fields = shared.layout(self.observation_space, self.action_space, self.num_envs)
        size = shared.nbytes(fields)
        self._blocks.append(shared.new_block(size))
        self._arrays = shared.carve(mmap.mmap(self._blocks[0].fileno(), size), fields)
        for i in range(self.num_envs):
            self._share(i)

    def _built(self, i: int) -> bytes:
        """The first answer of a worker."""
        if not self._pipes[i].poll(self.start):
            kill(self._processes[i])
            raise self._failed(i, f"could not be built within {self.start:g} s.")
        return self._answer(i)

    def _share(self, i: int) -> None:
        """Gives worker i the shared arrays."""
        pipe = self._pipes[i]
        pipe.send_bytes(str(self.num_envs).encode())
        reduction.send_handle(pipe, self._blocks[0].fileno(), self._processes[i].pid)

    def _begin(self, actions: Sequence[Any], reset: Bools) -> None:
        self._tell_all([self._order(i, actions[i], reset[i]) for i in range(self.num_envs)])

    def _step(self, actions: Sequence[Any], reset: Bools) -> Frames:
        self._hear_all()
        return shared.as_frames(self._arrays).copy()

    def _order(self, i: int, action: Any, reset: bool) -> bytes:
        """The message that makes env i reset or step; its action lies in the shared arrays."""
        if reset:
            seed = self._seeds[i]
            return RESET + (b"" if seed is None else str(seed).encode())
        shared.write_action(self.action_space, self._arrays, i, action)
        return STEP

    def _get_states(self) -> list[Any]:
        return [state.loads(answer) for answer in self._ask_all([GET] * self.num_envs)]

    def _set_states(self, states: list[Any]) -> None:
        self._ask_all([SET + state.dumps(saved) for saved in states])

    def _ask_all(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sends each worker its message; answers as `_hear_all` does."""
        self._tell_all(messages)
        return self._hear_all()

    def _tell_all(self, messages: Sequence[bytes]) -> None:
        self._check_open()
        for i in sorted(self._unanswered):  # an interrupted call left these behind
            self._answer(i)
        for i, message in enumerate(messages):
            try:
                self._pipes[i].send_bytes(message)
            except OSError as error:
                raise self._gone(i) from error
            self._unanswered.add(i)

    def _hear_all(self) -> list[bytes]:
        """Waits for the answers of all workers; only then raises the first failure."""
        self._check_open()
        answers: list[bytes] = []
        failure: EnvError | None = None
        for i in range(self.num_envs):
            try:
                answers.append(self._answer(i))
            except EnvError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return answers

    def _check_open(self) -> None:
        if not self._pipes:
            raise EnvError("This vector is closed.")

    def _answer(self, i: int) -> bytes:
        try:
            answer = self._pipes[i].recv_bytes()
        except (EOFError, OSError) as error:
            self._unanswered.discard(i)
            raise self._gone(i) from error
        self._unanswered.discard(i)
        if answer[:1] == FAILED:
            raise self._failed(i, answer[1:].decode())
        return answer[1:]

    def _gone(self, i: int) -> EnvError:
        self._processes[i].join(PATIENCE)
        hint = ""
        if self._need_main:
            hint = (
                " It ran the top level of your script, where the env is defined: put what the "
                f"script does under `if __name__ == '__main__':`, or {IN_THIS_PROCESS}."
            )
        code = self._processes[i].exitcode
        return self._failed(i, f"its process ended with exit code {code}.{hint}")

    def _failed(self, i: int, reason: str) -> EnvError:
        return EnvError(f"Env {i} ({self.ids[i]}) failed: {reason}")


def kill(process: Any) -> None:
    """Ends a worker and all that it started, now."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:  # it has no group of its own yet, or it is gone
        process.kill()
    process.join(PATIENCE)


def _end_workers(pipes: list[Connection], processes: list[Any], blocks: list[Any]) -> None:
    for pipe in pipes:
        with suppress(OSError):  # it is gone already
            pipe.send_bytes(CLOSE)
    end = time.monotonic() + PATIENCE  # for all together
    for process in processes:
        process.join(max(end - time.monotonic(), 0))
    for process in processes:
        if process.is_alive():
            kill(process)
    for opened in (*pipes, *blocks):
        opened.close()
    for things in (pipes, processes, blocks):
        things.clear()


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
