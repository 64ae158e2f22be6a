"""Values of options, refused by every suite in the same words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from dreamer_envs.errors import EnvOptionError


def one_of(who: str, **given: tuple[str, Iterable[str]]) -> None:
    """Refuses a value that is none of its choices.

    Args:
        who: env id, for the message. given: name of the option -> value and choices.

    Raises:
        EnvOptionError: for the first such value; names the nearest choice, and all.
    """
    for name, (value, choices) in given.items():
        known = tuple(choices)
        if value not in known:
            near = difflib.get_close_matches(str(value), known, 1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise EnvOptionError(
                f"{name} is {value!r} for {who}; choose one of {', '.join(known)}.{guess}"
            )


def at_least(who: str, **given: tuple[float, float]) -> None:
    """Refuses a number below its least.

    Args:
        who: env id, for the message. given: name of the option -> value and least one.

    Raises:
        EnvOptionError: for the first such value.
    """
    for name, (value, least) in given.items():
        if not value >= least:
            raise EnvOptionError(f"{name} is {value} for {who}; it must be at least {least}.")


def positive(who: str, **given: float) -> None:
    """Refuses a number that is 0 or less.

    Args:
        who: env id, for the message. given: name of the option -> value.

    Raises:
        EnvOptionError: for the first such value.
    """
    for name, value in given.items():
        if not value > 0:
            raise EnvOptionError(f"{name} is {value} for {who}; it must be above 0.")


def drawing(who: str, render_mode: str | None) -> None:
    """Refuses a way of drawing that is neither None nor `rgb_array`.

    Args:
        who: env id, for the message. render_mode: asked for.

    Raises:
        EnvOptionError: for any other.
    """
    if render_mode not in (None, "rgb_array"):
        raise EnvOptionError(f"render_mode is {render_mode!r} for {who}; use 'rgb_array'.")
