"""Trains the agent that the command line trains, with the suite's own settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Trained = Callable[..., Path]


@pytest.fixture
def train(tmp_path: Path) -> Trained:
    """`train("toy/catch", "v2", seed=1, **{"run.steps": 99})` trains to the end; gives the run."""
    from dreamer_plugin.config import compose
    from dreamer_plugin.run import loop

    def run(env: str, agent: str = "v3", seed: int = 0, **options: Any) -> Path:
        base = {"seed": seed, "device": "cpu", "run.logdir": str(tmp_path / "run")}
        result = loop.train(compose(env, config=[agent], options=base | options).config)
        assert result.run_dir is not None
        return result.run_dir

    return run
