"""Errors meant for users: one clear line, shown without a traceback by the command line."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class UsageError(ValueError):
    """Something the user typed or passed cannot work; the message says what would."""

    exit_code = 2  # of a process that ends with it


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged or of another make."""


class NotFiniteError(UsageError):
    """What an agent has learned is not finite any more; the last checkpoint stands."""

    exit_code = 3


class DiskFullError(UsageError):
    """What a run writes has no room; the last checkpoint stands."""

    exit_code = 4


class DeviceMemoryError(UsageError):
    """Updates do not fit into the memory of the device; the last checkpoint stands."""


class NotFiniteUpdate(ArithmeticError):
    """An update met a number that is not finite. It changed nothing.

    Args:
        losses: mean of every loss by name. gradients: parameters whose gradient is not finite.
    """

    def __init__(self, losses: Mapping[str, float], gradients: Iterable[str]) -> None:
        self.losses, self.gradients = dict(losses), list(gradients)
        odd = [name for name, value in self.losses.items() if not math.isfinite(value)]
        odd += [f"the gradient of {name}" for name in self.gradients[:3]]
        super().__init__(f"not finite: {', '.join(odd) or 'the sum of the losses'}")


def nearest(value: str, valid: Iterable[str], kind: str) -> str:
    """Sentence that names a wrong value, the nearest valid one, and, if few, all valid ones.

    Args:
        value: what was given.
        valid: what would have been accepted.
        kind: what it is, for example `"size"`.

    Returns:
        One sentence to put in an error.
    """
    options = list(valid)
    close = difflib.get_close_matches(value, options, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listing = f" Valid: {', '.join(options)}." if len(options) <= 12 else ""
    return f"Unknown {kind} {value!r}.{hint}{listing}"


def choose(valid: Mapping[str, Value], word: str, kind: str) -> Value:
    """What a word stands for.

    Args:
        valid: word -> what it stands for. word, kind: as in `nearest`.

    Raises:
        UsageError: `nearest`'s, where it is none of the words.
    """
    if word not in valid:
        raise UsageError(nearest(word, valid, kind))
    return valid[word]
