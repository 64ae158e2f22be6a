"""Mistakes on the command line: one line on stderr with the nearest valid thing, exit code 2."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from dreamer_plugin.errors import UsageError

# Typer's own usage errors and their parent, wherever its version keeps them.
_TYPER_USAGE, _TYPER_ERROR = typer.BadParameter.__mro__[1:3]
USAGE, INTERRUPTED = 2, 130


class OneLineGroup(TyperGroup):
    """A group of commands whose errors are one line; a fault of ours still shows its traceback."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; name the nearest when there is none."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            valid = [name for name, command in self.commands.items() if not command.hidden]
            raise UsageError(f"Unknown command {args[0]!r}.{_hint(args[0], valid)}")
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]  # the rest of Typer's arguments are in `extra`
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run a command line.

        Args:
            args: the words, `sys.argv` by default.
            standalone_mode: whether to leave the process with the exit code.
            extra: as in Typer.
        """
        try:
            with _warnings_for_users():
                code = super().main(args, standalone_mode=False, **extra)
        except (typer.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        except Exception as error:
            message = _for_user(error)
            if message is None or not standalone_mode:
                raise
            typer.echo(f"Error: {message}", err=True)
            code = getattr(error, "exit_code", USAGE)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _warnings_for_users() -> Iterator[None]:
    """Warnings as one line, without the line of our source that they come from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning  {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _for_user(error: Exception) -> str | None:
    """What to tell the user in one line; None for an error that is ours."""
    if isinstance(error, _TYPER_USAGE):
        return _usage(error)
    envs = sys.modules.get("dreamer_envs.errors")
    if isinstance(error, (UsageError, _TYPER_ERROR)) or (
        envs is not None and isinstance(error, envs.EnvsError)
    ):
        return " ".join(str(error).split())
    return None


def _usage(error: Any) -> str:
    """One line of Typer's usage error, with the nearest option."""
    name = getattr(error, "option_name", None)
    command = error.ctx.command if error.ctx else None
    if name and command is not None and "No such option" in error.message:
        options = [option for param in command.params for option in param.opts]
        valid = [option for option in options if option.startswith("--")] + ["--help"]
        return f"Unknown option {name!r}.{_hint(name, valid)} See {error.ctx.command_path} --help."
    text = " ".join(error.format_message().split()).rstrip(".") + _given(error)
    return f"{text}. See {error.ctx.command_path} --help." if error.ctx else f"{text}."


def _given(error: Any) -> str:
    """The value that was refused, where it was looked at and the message leaves it out."""
    looked = getattr(error.__cause__, "errors", None)  # pydantic's, which Typer checks values with
    values = [repr(each["input"]) for each in looked()] if callable(looked) else []
    shown = error.format_message()
    return "".join(f", but it is {value}" for value in values[:1] if value not in shown)


def _hint(given: str, valid: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, valid, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Valid: {', '.join(valid)}."
