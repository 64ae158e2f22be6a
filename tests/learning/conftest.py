"""Trains the agent that the command line trains, with the suite's own settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Trained = Callable[..., Path]


@pytest.fixture
def train(tmp_path: Path) -> Trained:
    """`train("toy/catch", seed=1, **{"run.steps": 5000})` trains to the end; returns the run."""
    from dreamer_plugin.config import compose
    from dreamer_plugin.run import loop

    def run(env: str, seed: int = 0, **options: Any) -> Path:
        base = {"seed": seed, "device": "cpu", "run.logdir": str(tmp_path / "run")}
        result = loop.train(compose(env, options=base | options).config)
        assert result.run_dir is not None
        return result.run_dir

    return run
