"""docs/torchrl.md: its code runs, and its names exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import torchrl


def test_the_code_of_the_page_runs(repo: Path, tmp_path: Path) -> None:
    text = (repo / "docs" / "torchrl.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    script = tmp_path / "page.py"
    script.write_text(block, encoding="utf-8")
    names = runpy.run_path(str(script))
    assert names["value"].shape == (2, 5)


def test_the_page_is_of_the_installed_version(repo: Path) -> None:
    """Differences were found with one minor version; another one is to be read again."""
    text = (repo / "docs" / "torchrl.md").read_text(encoding="utf-8")
    (version,) = re.findall(r"\(TorchRL (\d+\.\d+)\.\d+\)", text)
    assert torchrl.__version__.startswith(f"{version}.")
