"""Programs that settings may start: those that somebody typed, never those that a file names.

`env.python=PATH` runs an env in another Python, `env.file_name=PATH` is a scene that Unity built.
Typed, they are allowed for as long as this process lives; a saved configuration, which may be a
stranger's, is refused with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dreamer_plugin.config.secrets import require
from dreamer_plugin.errors import UsageError

PROGRAMS = ("python", "file_name")  # options of envs
_ALLOWED: set[str] = set()


def allow_program(path: str) -> None:
    """Let settings start this program."""
    _ALLOWED.add(path)


def usable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an env as they may be given to it; every env of a configuration takes these.

    Raises:
        UsageError: for a secret that was not saved, or a program that nobody allowed.
    """
    require(options)
    require_allowed(options)
    return dict(options)


def require_allowed(options: Mapping[str, Any]) -> None:
    """Refuse options of an env that would start a program which nobody allowed.

    Raises:
        UsageError: naming it, and how to allow it.
    """
    for option in PROGRAMS:
        path = options.get(option)
        if path and str(path) not in _ALLOWED:
            raise UsageError(
                f"The saved settings would run the program {str(path)!r} for the env, and no file "
                f"may ask for that: say env.{option}={path} again where settings are typed, "
                f"--allow-env-python {path} elsewhere, or pass the env itself in Python."
            )
