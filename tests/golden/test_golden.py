"""Every golden file of a folder, found by its kind; see the package docstring.

`DREAMER_GOLDEN` names another folder of the same layout, `DREAMER_GOLDEN_REPORT` a Markdown file to
write the results to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .kinds.table import KINDS, kind_of
from .reading import Golden, folder

FILES = sorted(folder().glob("*.npz"))


def _found() -> dict[str, list[Path]]:
    """Files by kind; those of no known kind under the empty name."""
    found: dict[str, list[Path]] = {}
    for path in FILES:
        found.setdefault(kind_of(path.stem) or "", []).append(path)
    return found


def test_every_file_has_a_kind_and_every_kind_a_file() -> None:
    found = _found()
    unknown = [path.name for path in found.pop("", [])]
    missing = sorted(KINDS.keys() - found.keys())
    assert not unknown, f"files of no known kind in {folder()}: {unknown}"
    assert not missing, f"kinds without a file in {folder()}: {missing}"


@pytest.mark.parametrize(
    "path", [p for p in FILES if kind_of(p.stem) in KINDS], ids=lambda p: p.stem
)
def test_golden(path: Path, record_property: Callable[[str, object], None]) -> None:
    kind = kind_of(path.stem)
    assert kind is not None
    record_property("golden", (path.stem, None))  # until it comes through
    golden = Golden(path)
    KINDS[kind](golden)
    golden.finish()
    record_property("golden", (path.stem, (golden.compared, golden.worst, golden.worst_key)))
