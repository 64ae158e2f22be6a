"""What the environment tests share: golden arrays, a renderer if there is one, odd envs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dreamer_envs.suites import rendering

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def golden():
    """Arrays of a golden file by name."""
    folder = Path(os.environ.get("DREAMER_GOLDEN") or HERE.parent / "golden" / "data")

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def renderer():
    """Skips where no OpenGL library can draw MuJoCo scenes."""
    backend = rendering.select_backend(needed=False, who="tests")
    if backend == "disabled":
        pytest.skip(f"no OpenGL library to draw with; {rendering.REMEDY}")


@pytest.fixture
def odd_envs(monkeypatch):
    """Module of misbehaving envs, importable by worker processes too."""
    monkeypatch.syspath_prepend(str(HERE / "odd"))
    import odd_envs

    return odd_envs
