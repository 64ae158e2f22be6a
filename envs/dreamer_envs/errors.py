"""Errors of the environment package: one clear line each, naming the value and the remedy."""

from __future__ import annotations


class EnvsError(Exception):
    """Base of every error raised here on purpose."""


class EnvIdError(EnvsError, ValueError):
    """An environment id names no known suite or task, or more than one."""


class EnvOptionError(EnvsError, ValueError):
    """An option is unknown to the suite, or its value is out of range."""


class UnknownOptionError(EnvOptionError):
    """An option that the suite has not.

    Args:
        message: what to tell the user. option: its name.
    """

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


class UnsupportedSpaceError(EnvsError, ValueError):
    """An observation or action space that cannot be turned into the common form."""


class FrameError(EnvsError, ValueError):
    """An observation or a reward that is not what the env declared, or that cannot be learned."""


class MissingPackageError(EnvsError, ImportError):
    """A suite needs a Python package or a system library that is not installed."""


class EnvError(EnvsError, RuntimeError):
    """An environment failed while it ran; the message carries its id and its own error text."""


class StateError(EnvsError, RuntimeError):
    """An environment cannot save its state, or was given a state that is not its own."""
