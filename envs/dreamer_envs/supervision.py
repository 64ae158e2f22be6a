"""How failures of envs are answered: patience, restarts that come later and later, a limit.

fault      1     2     3     4   ...        within `window` seconds
pause     0.1   0.2   0.4   0.8  ... 30     before the env is started again
more than `budget` of them: the env is given up, and the others go on
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from dreamer_envs.errors import EnvError


@dataclass(frozen=True)
class Supervision:
    """What is done about envs that fail.

    Args:
        timeout: seconds that a step or a reset may take; then the env counts as hanging.
        budget: failures of one env within `window` seconds that are forgiven.
        min_envs: with fewer left the vector fails.
        window: see `budget`. start: seconds that building an env may take.
        pause, longest: seconds before the first restart, and before any.
    """

    timeout: float = 60.0
    budget: int = 10
    min_envs: int = 1
    window: float = 300.0
    start: float = 600.0
    pause: float = 0.1
    longest: float = 30.0

    def delay(self, faults: int) -> float:
        """Seconds to wait after so many faults within the window."""
        return float(min(self.pause * 2 ** (faults - 1), self.longest))


@dataclass(frozen=True)
class Fault:
    """One failure of an env.

    Args:
        env: its number in the vector. id: its name. reason: one line.
        pause: seconds until it is started again; None when it is given up.
    """

    env: int
    id: str
    reason: str
    pause: float | None

    def __str__(self) -> str:
        what = "given up" if self.pause is None else f"starting again in {self.pause:g} s"
        return f"Env {self.env} ({self.id}) failed, its episode is cut, {what}: {self.reason}"


class Docket:
    """The faults of all envs, and what follows from them.

    Args:
        supervision: the rules. ids: a name per env.
    """

    def __init__(self, supervision: Supervision, ids: list[str]) -> None:
        self.rules, self.ids = supervision, ids
        self.faults: list[Fault] = []
        self.gone = [False] * len(ids)
        self._recent: list[deque[float]] = [deque() for _ in ids]

    def add(self, env: int, reason: str, now: float) -> Fault:
        """Enter a fault at a time in seconds.

        Raises:
            EnvError: when too few envs are left.
        """
        recent = self._recent[env]
        recent.append(now)
        while recent[0] <= now - self.rules.window:
            recent.popleft()
        self.gone[env] = len(recent) > self.rules.budget
        pause = None if self.gone[env] else self.rules.delay(len(recent))
        fault = Fault(env, self.ids[env], reason, pause)
        self.faults.append(fault)
        left = self.gone.count(False)
        if left < max(self.rules.min_envs, 1):
            raise EnvError(
                f"Only {left} of {len(self.ids)} envs are left, {self.rules.min_envs} are needed: "
                f"env {env} ({self.ids[env]}) failed {len(recent)} times within "
                f"{self.rules.window:g} s. The last time: {reason}"
            )
        return fault
