"""How many updates are due at an agent step."""

from __future__ import annotations


class TrainRatio:
    """Turns a count of agent steps into a count of updates.

    An update replays `replayed` steps, so `ratio / replayed` updates are due per agent step. What a
    call does not use up is carried over, in float64. The first call gives one update, whatever the
    ratio is, so that training begins with the first full batch; a ratio of zero never trains.

    Source: `embodied/core/when.py`, `Ratio`, danijar/dreamerv3 @ e3f0224.

    Args:
        ratio: replayed steps per agent step; negative is one update per call.
        replayed: steps that one update replays, batch size times length.
    """

    def __init__(self, ratio: float, replayed: int) -> None:
        if replayed < 1:
            raise ValueError(f"an update must replay at least one step, got {replayed}")
        self.per_step = ratio / replayed
        self._paid: float | None = None  # the step up to which updates have been made

    def updates(self, step: int) -> int:
        """Updates due now.

        Args:
            step: agent steps over all envs so far; must not fall between calls.
        """
        if self.per_step == 0:
            return 0
        if self.per_step < 0:
            return 1
        if self._paid is None:
            self._paid = float(step)
            return 1
        due = int((step - self._paid) * self.per_step)
        self._paid += due / self.per_step
        return due

    def state_dict(self) -> dict[str, float | None]:
        """JSON-able."""
        return {"paid": self._paid}

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        """The inverse of `state_dict`."""
        self._paid = state["paid"]
