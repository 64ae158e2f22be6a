"""Commands called inside the process of the tests."""

from __future__ import annotations

from typer.testing import CliRunner

from dreamer_plugin.doors.cli import app


def call(*words, code=0):
    """The result of a command that must end with the code."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result
