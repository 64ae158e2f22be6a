"""Counts of golden files at the end of a run, and the report if one is wanted."""

from __future__ import annotations

import pytest

_RESULTS: dict[str, object] = {}


@pytest.fixture
def golden_report() -> dict[str, object]:
    """File name to its comparison, None while or when it failed."""
    return _RESULTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was found, run and failed."""
    if _RESULTS:
        from .report import counts

        terminalreporter.write_line(counts(_RESULTS))


def pytest_sessionfinish() -> None:
    """Write the report where `DREAMER_GOLDEN_REPORT` says."""
    import os

    path = os.environ.get("DREAMER_GOLDEN_REPORT")
    if path and _RESULTS:
        from pathlib import Path

        from .report import markdown

        Path(path).write_text(markdown(_RESULTS))
