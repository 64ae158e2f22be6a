"""Envs in processes of their own that may raise, hang, crash or be killed without ending the run.

    worker i   up ---- raise, exit, kill, crash, hang ----> down ---- pause over ----> starting
                ^                                            ^                            |   |
                |                                            '--- fails again, too slow --'   |
                '------------------------------ built its env ------------------------------ '
               down for good when its faults are too many

While a worker is not up its row of the frames is absent: the episode it was in stops there, neither
terminated nor with a made-up frame, and its first frame after the restart is that of a reset. The
others never wait for it, unless it is the only one.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamer_envs import shared, state
from dreamer_envs.errors import EnvError, StateError
from dreamer_envs.frames import Bools, Frames, Make, env_seed
from dreamer_envs.supervision import Docket, Fault, Supervision
from dreamer_envs.worker import GET
from dreamer_envs.workers import ProcessVector, kill

_log = logging.getLogger(__name__)


class SupervisedVector(ProcessVector):
    """A `ProcessVector` that restarts envs; without a fault its frames are the same.

    An env that fails before it has made a single step is an error all the same: it is wrong, not
    unlucky.

    Args:
        makers, seed: as in `ProcessVector`. A restarted env has a seed of its own.
        supervision: the rules.

    Raises:
        EnvError: an env cannot be built, fails at once, or too few are left.
    """

    def __init__(
        self, makers: Sequence[Make], seed: int = 0, supervision: Supervision | None = None
    ) -> None:
        self.supervision = supervision or Supervision()
        self.start = self.supervision.start
        super().__init__(makers, seed)
        self._docket = Docket(self.supervision, self.ids)
        self._up = [True] * self.num_envs
        self._proved = np.zeros(self.num_envs, np.bool_)  # made a step
        self._fallen = [0] * self.num_envs  # faults, also of the run that a state is from
        self._due: dict[int, float] = {}  # down -> when to start it
        self._late: dict[int, float] = {}  # starting -> when to stop waiting
        self._cut: set[int] = set()  # failed since their last row, which must be shown as absent
        self._hopeless: EnvError | None = None  # why no step can follow
        self._last: Frames | None = None

    @property
    def faults(self) -> list[Fault]:
        """Every fault so far."""
        return self._docket.faults

    @property
    def envs_left(self) -> int:
        """Envs that are not given up."""
        return self._docket.gone.count(False)

    def state_dict(self) -> dict[str, Any]:
        """As of `VectorEnv`, with how often each env has failed."""
        return {**super().state_dict(), "fallen": list(self._fallen)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """As of `VectorEnv`; an env that is restarted later does not play what it played before."""
        super().load_state_dict(saved)
        self._fallen = list(saved.get("fallen", self._fallen))  # not in older states

    def _begin(self, actions: Sequence[Any], reset: Bools) -> None:
        self._check_open()
        if self._hopeless is not None:
            raise self._hopeless
        self._bring_back()
        up = [i for i in range(self.num_envs) if self._up[i] and i not in self._cut]
        self._tell({i: self._order(i, actions[i], reset[i]) for i in up})

    def _step(self, actions: Sequence[Any], reset: Bools) -> Frames:
        self._check_open()
        answered = np.zeros(self.num_envs, np.bool_)
        answered[list(self._hear())] = True
        self._proved |= answered & ~reset
        frames = shared.as_frames(self._arrays).copy()
        frames.present[:] = answered
        if not answered.all():
            _blank(frames, self._last)
        self._cut -= set(np.flatnonzero(~answered).tolist())
        self._last = frames
        return frames

    def _get_states(self) -> list[Any]:
        self._tell({i: GET for i in range(self.num_envs) if self._up[i]})
        answers = self._hear()
        if len(answers) < self.num_envs:
            lost = next(i for i in range(self.num_envs) if i not in answers)
            raise StateError(f"Env {lost} ({self.ids[lost]}) is down and has no state to save.")
        return [state.loads(answers[i]) for i in range(self.num_envs)]

    def _tell(self, messages: Mapping[int, bytes]) -> None:
        """Sends messages; a worker that cannot be reached is down after this."""
        self._discard_unanswered()
        for i, message in messages.items():
            try:
                self._pipes[i].send_bytes(message)
            except OSError:
                self._fail(i, str(self._gone(i)))
            else:
                self._unanswered.add(i)

    def _hear(self) -> dict[int, bytes]:
        """Answers of those who give one in time; the others are down after this."""
        poll, waiting = select.poll(), {}
        for i in self._unanswered:
            waiting[self._pipes[i].fileno()] = i
            poll.register(self._pipes[i], select.POLLIN)
        answers: dict[int, bytes] = {}
        end = time.monotonic() + self.supervision.timeout
        while waiting:
            ready = poll.poll(max(end - time.monotonic(), 0) * 1000)
            for number, _ in ready:
                poll.unregister(number)
                i = waiting.pop(number)
                try:
                    answers[i] = self._answer(i)
                except EnvError as error:
                    self._fail(i, str(error))
            if not ready and time.monotonic() >= end:
                for i in waiting.values():
                    self._fail(i, self._too_slow())
                break
        return answers

    def _discard_unanswered(self) -> None:
        """Takes the answers to a call that was interrupted."""
        for i in sorted(self._unanswered):
            try:
                if not self._pipes[i].poll(self.supervision.timeout):
                    raise self._failed(i, self._too_slow())
                self._answer(i)
            except EnvError as error:
                self._fail(i, str(error))

    def _too_slow(self) -> str:
        return (
            f"no answer within {self.supervision.timeout:g} s; if its steps may take longer: "
            "--env-timeout SECONDS (env.timeout)."
        )

    def _fail(self, i: int, reason: str) -> None:
        """Takes a worker down and decides when it comes back."""
        reason = reason.removeprefix(str(self._failed(i, "")))
        self._up[i] = False
        self._unanswered.discard(i)
        self._late.pop(i, None)
        self._cut.add(i)
        kill(self._processes[i])
        self._pipes[i].close()
        now = time.monotonic()
        try:
            if not self._proved[i]:
                raise self._failed(i, f"before its first step: {reason}")
            fault = self._docket.add(i, reason.splitlines()[0], now)
        except EnvError as error:
            self._hopeless = error  # who saves the states of the envs may go on after it
            raise
        if fault.pause is not None:
            self._due[i] = now + fault.pause
        # What an episode was seeded with must not bring the same failure about again.
        self._fallen[i] += 1
        self._seeds[i] = env_seed(self._seed, i, self._fallen[i], self._anew)
        _log.warning("%s", fault)

    def _bring_back(self) -> None:
        """Starts what is due and takes in what has started; waits only where nobody is up."""
        while True:
            now = time.monotonic()
            for i in [i for i, due in self._due.items() if due <= now]:
                del self._due[i]
                self._pipes[i], self._processes[i] = self._launch(i)
                self._late[i] = now + self.supervision.start
            alone = not any(self._up)
            for i in list(self._late):
                self._greet(i, patience=0.05 if alone else 0)
            if any(self._up):
                return
            if not self._late and self._due:
                time.sleep(max(min(self._due.values()) - time.monotonic(), 0))

    def _greet(self, i: int, patience: float) -> None:
        """Takes a worker in whose env is built."""
        if not self._pipes[i].poll(patience):
            if time.monotonic() > self._late[i]:
                self._fail(i, f"could not be built within {self.supervision.start:g} s.")
            return
        try:
            observation, action, _ = shared.decode_spaces(self._answer(i))
            if (observation, action) != (self.observation_space, self.action_space):
                raise self._failed(i, "it came back with other spaces.")
            self._share(i)
        except (EnvError, OSError) as error:
            self._fail(i, str(error))
        else:
            del self._late[i]
            self._up[i] = True


def _blank(frames: Frames, last: Frames | None) -> None:
    """Gives absent rows the flags of an ended episode, and pictures that are whole if stale."""
    absent = ~frames.present
    for name, array in frames.obs.items():
        array[absent] = 0 if last is None else last.obs[name][absent]
    frames.reward[absent] = 0
    frames.is_first[absent] = frames.terminated[absent] = False
    frames.is_last[absent] = True
    frames.success[absent] = -1
