"""What becomes of updates that are not finite: left out, then back to a checkpoint, then the end.

    update     1 2 3 x 5 x 7 x        up to 3 of 1,000 are left out
                             x        one more: back to the newest checkpoint, another sampling
    again, a fourth time within 10,000 updates: the end, with a report

An update that is left out changes neither the agent nor the latents in replay. One such update may
be a rare batch; many are an agent that has diverged, which no skipping mends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensordict import TensorDict

from dreamer_plugin.config.yamlfile import write_text
from dreamer_plugin.data.windows import STREAM
from dreamer_plugin.errors import NotFiniteError, NotFiniteUpdate

SKIPS, WINDOW = 3, 1000  # updates left out, of so many
ROLLBACKS, FORGOTTEN = 3, 10_000  # and updates after which one counts no more
REPORT = "not-finite.json"


class NotFiniteWarning(UserWarning):
    """An update was not finite and was left out."""


class Numerics:
    """Counts updates that were not finite, and says what follows.

    Attributes:
        skipped: numbers of the updates before which one was left out. rolled_back: the same.
        total: left out in all.
    """

    def __init__(self) -> None:
        self.skipped: list[int] = []
        self.rolled_back: list[int] = []
        self.total = 0

    def too_many(self, update: int) -> bool:
        """Note that one was left out after so many updates; whether skipping does not help."""
        self.skipped = [each for each in self.skipped if each > update - WINDOW] + [update]
        self.total += 1
        return len(self.skipped) > SKIPS

    def may_roll_back(self, update: int) -> bool:
        """Whether going back is still worth a try."""
        self.rolled_back = [each for each in self.rolled_back if each > update - FORGOTTEN]
        return len(self.rolled_back) < ROLLBACKS

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume."""
        return {"skipped": self.skipped, "rolled_back": self.rolled_back, "total": self.total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.skipped, self.rolled_back = list(state["skipped"]), list(state["rolled_back"])
        self.total = int(state["total"])


def describe(error: NotFiniteUpdate, batch: TensorDict, names: Sequence[str]) -> dict[str, Any]:
    """What a person needs to find the cause: losses, gradients, and which records they are of.

    Args:
        error: of the update. batch: `[B, 1+T]`, with positions under `index`.
        names: of the envs.
    """
    starts = batch["index"][:, 0].tolist()
    fields = {
        ".".join(key) if isinstance(key, tuple) else key: value
        for key, value in batch.items(include_nested=True, leaves_only=True)
    }
    return {
        "losses": {name: repr(value) for name, value in error.losses.items()},
        "gradients_not_finite": error.gradients,
        "records": [
            {"env": start // STREAM, "id": names[start // STREAM], "first": start % STREAM}
            for start in starts
        ],
        "fields_not_finite": [
            name
            for name, value in fields.items()
            if value.is_floating_point() and not value.isfinite().all()
        ],
    }


def report(folder: Path, step: int, numerics: Numerics, found: dict[str, Any]) -> NotFiniteError:
    """Write what is known into the run folder; the error that ends the run."""
    path = folder / REPORT
    write_text(
        json.dumps({"step": step, **numerics.state_dict(), "last": found}, indent=1) + "\n", path
    )
    return NotFiniteError(
        f"{told(step, numerics)} {path} says which losses, gradients and records. The checkpoints "
        f"stand: --resume {folder} with a lower optim.lr or precision=float32, and "
        "--allow-config-change."
    )


def told(step: int, numerics: Numerics) -> str:
    """Sentence on what happened."""
    back = len(numerics.rolled_back)
    tried = f", {back} times anew from a checkpoint" if back else ""
    return f"At step {step:,} updates are not finite, {numerics.total} so far{tried}."
