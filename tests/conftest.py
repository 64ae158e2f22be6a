"""What every test needs before anything heavy is imported."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# No window may open, threads that wait must not spin on a busy machine (measured: 4x slower), and
# a compile cache broken by a killed process must not reach the next one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
_inductor = tempfile.TemporaryDirectory(prefix="inductor-", ignore_cleanup_errors=True)
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", _inductor.name)
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores, so each takes one thread
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout these tests stand in."""
    return Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests, with the reason, where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
