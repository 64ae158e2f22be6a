"""Looking around must not cost the seconds that importing torch takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchrl", "tensordict"}


def imported(*arguments: str) -> set[str]:
    """Names of all modules that a fresh interpreter imports."""
    command = [sys.executable, "-X", "importtime", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import dreamer_plugin"),
        ("-c", "import dreamer_plugin.config"),
        ("-c", "import dreamer_envs; dreamer_envs.available()"),
        ("-m", "dreamer_plugin", "--help"),
        ("-m", "dreamer_plugin", "train", "--help"),
        ("-m", "dreamer_plugin", "bench", "--help"),
        ("-m", "dreamer_plugin", "envs"),
        ("-m", "dreamer_plugin", "envs", "--json"),
    ],
    ids=" ".join,
)
def test_no_torch(arguments):
    assert not imported(*arguments) & HEAVY


def test_the_check_sees_torch():
    assert "torch" in imported("-c", "import torch")
