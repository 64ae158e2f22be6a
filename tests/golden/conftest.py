"""Counts of golden files at the end of a run, and the report if one is wanted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .report import Outcome, counts, markdown

_RESULTS: dict[str, Outcome | None] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what the tests recorded; under `-n` their processes send it with the reports."""
    for name, value in report.user_properties:
        if name == "golden":
            stem, outcome = value
            _RESULTS[stem] = outcome and Outcome(*outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was found, run and failed."""
    if _RESULTS:
        terminalreporter.write_line(counts(_RESULTS))


def pytest_sessionfinish() -> None:
    """Write the report where `DREAMER_GOLDEN_REPORT` says."""
    path = os.environ.get("DREAMER_GOLDEN_REPORT")
    if path and _RESULTS:
        Path(path).write_text(markdown(_RESULTS))
