"""docs/torchrl.md: its code runs, and its names exist."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torchrl


@pytest.fixture
def scripts(repo: Path, tmp_path: Path) -> list[Path]:
    """The Python of the page, each block in a file of its own."""
    text = (repo / "docs" / "torchrl.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    made = [tmp_path / f"block_{number}.py" for number in range(len(blocks))]
    for script, block in zip(made, blocks, strict=True):
        script.write_text(block, encoding="utf-8")
    return made


def test_the_code_of_the_page_runs(scripts: list[Path]) -> None:
    names: dict[str, Any] = {}
    for script in scripts:
        names |= runpy.run_path(str(script))
    assert names["value"].shape == (2, 5)


@pytest.mark.slow
def test_the_collectors_of_the_page_run(scripts: list[Path]) -> None:
    (script,) = [path for path in scripts if "__main__" in path.read_text()]
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_page_is_of_the_installed_version(repo: Path) -> None:
    """Differences were found with one minor version; another one is to be read again."""
    text = (repo / "docs" / "torchrl.md").read_text(encoding="utf-8")
    (version,) = re.findall(r"\(TorchRL (\d+\.\d+)\.\d+\)", text)
    assert torchrl.__version__.startswith(f"{version}.")
