"""How many updates are due at an agent step."""

from __future__ import annotations


class TrainRatio:
    """Turns a count of agent steps into a count of updates.

    An update replays `replayed` steps, so `ratio / replayed` updates are due per agent step. What a
    call does not use up is carried over, in float64. The first call gives one update, whatever the
    ratio is, so that training begins with the first full batch; a ratio of zero never trains.

        step     600   601  ...  1099   1100  ...  1600       1/5 update per step, burst 100
        updates  1 + pretrain           100        100

    Source: `embodied/core/when.py`, `Ratio`, danijar/dreamerv3 @ e3f0224; of bursts and pretraining
    `dreamer.py`, danijar/dreamer @ 56d4d444.

    Args:
        ratio: replayed steps per agent step; negative is one burst per call.
        replayed: steps that one update replays, batch size times length.
        burst: updates become due in groups of this many, once so many are earned.
        pretrain: updates on top of the first one.
    """

    def __init__(self, ratio: float, replayed: int, burst: int = 1, pretrain: int = 0) -> None:
        if replayed < 1:
            raise ValueError(f"an update must replay at least one step, got {replayed}")
        if burst < 1 or pretrain < 0:
            raise ValueError(f"burst must be at least 1 and pretrain 0, got {burst}, {pretrain}")
        self.per_step = ratio / replayed
        self._burst, self._pretrain = burst, pretrain
        self._paid: float | None = None  # the step up to which updates have been made

    @property
    def started(self) -> bool:
        """Whether an update was ever due."""
        return self._paid is not None

    def updates(self, step: int) -> int:
        """Updates due now.

        Args:
            step: agent steps over all envs so far; must not fall between calls.
        """
        if self.per_step == 0:
            return 0
        if self._paid is None:
            self._paid = float(step)
            return 1 + self._pretrain
        if self.per_step < 0:
            return self._burst
        due = int((step - self._paid) * self.per_step) // self._burst * self._burst
        self._paid += due / self.per_step
        return due

    def state_dict(self) -> dict[str, float | None]:
        """JSON-able."""
        return {"paid": self._paid}

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        """The inverse of `state_dict`."""
        self._paid = state["paid"]
