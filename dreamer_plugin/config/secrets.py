"""Passwords and keys of services stay out of what is written: configs, layers, tables, messages.

    env.api_key=abc...               by its name
    env.url=https://x/?t=<value>     where it holds the value of an environment variable named so

In their place stands `HIDDEN`, with which no env is made: a run that is continued is told again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from dreamer_plugin.errors import UsageError

HIDDEN = "<secret: not saved>"
_OPTION = re.compile(
    r"(api|access|private|secret)[_-]?key|token|secret|passw(or)?d|credential", re.I
)
_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.I)
_LEAST = 8  # characters of a value that is looked for in others


def hidden(name: str, value: Any) -> Any:
    """The value of a setting as it may be shown.

    Args:
        name: dotted. value: plain data.
    """
    if isinstance(value, Mapping):
        return {key: hidden(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [hidden(name, item) for item in value]
    if not isinstance(value, str) or not value:
        return value
    secret = _OPTION.search(name.rpartition(".")[2]) or any(known in value for known in _known())
    return HIDDEN if secret else value


def reveals(text: str) -> bool:
    """Whether a text holds the value of an environment variable that is named like a secret."""
    return any(known in text for known in _known())


def require(options: Mapping[str, Any]) -> None:
    """Refuse options of an env that were hidden when they were saved.

    Raises:
        UsageError: naming the first, and how to pass it.
    """
    for name, value in options.items():
        if _holds_hidden(value):
            raise UsageError(
                f"env.{name} is a secret and was not saved with the run: only train --resume takes "
                f"env.{name}=... again; else pass the env in Python: Dreamer.load(run, env=...)."
            )


def _holds_hidden(value: Any) -> bool:
    if isinstance(value, (Mapping, list, tuple)):
        inside = value.values() if isinstance(value, Mapping) else value
        return any(map(_holds_hidden, inside))
    return bool(value == HIDDEN)


def _known() -> list[str]:
    """Values of environment variables that are named like secrets."""
    pairs = os.environ.items()
    return [value for name, value in pairs if _VARIABLE.search(name) and len(value) >= _LEAST]
