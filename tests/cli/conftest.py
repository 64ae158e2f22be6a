"""The machine on which commands run in these tests."""

from __future__ import annotations

import pytest

from dreamer_plugin.config.machine import Machine
from dreamer_plugin.doors import cli_config


@pytest.fixture
def laptop(monkeypatch):
    """Two cores, 6 GB and no GPU."""
    monkeypatch.setattr(cli_config, "probe", lambda *gpu: Machine(2, 6 * 10**9, *gpu))
    monkeypatch.setattr(cli_config, "find_gpu", lambda device: ("", 0))
