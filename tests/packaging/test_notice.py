"""NOTICE names source, commit and licence of every data file in the tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

SHIPPED = ("configs", "docs", "dreamer_plugin", "envs", "examples", "tests")
# What people write here is no data. A file of any other kind has to be explained.
WRITTEN = {".py", ".md", ".yaml", ".typed", ".html", ".lua", ".conf"}
RECORDED = "docs/results/*/*/*"  # what runs of this project gave, which it covers as a whole
NEEDED = {"in", "files", "what", "source", "commit", "licence"}


def blocks(notice: str) -> list[dict[str, str]]:
    """Paragraphs made of `key: text`, texts joined to one line."""
    found = []
    for paragraph in notice.split("\n\n"):
        pairs = re.findall(r"^(\w+): +((?:.|\n +)*)", paragraph, re.MULTILINE)
        if pairs:
            found.append({key: " ".join(text.split()) for key, text in pairs})
    return found


def patterns(found: list[dict[str, str]]) -> list[str]:
    return [f"{block['in']}/{name}" for block in found for name in block["files"].split()]


def data_files(repo: Path) -> Iterator[str]:
    for folder in SHIPPED:
        for path in (repo / folder).rglob("*"):
            inside = path.relative_to(repo)
            left_behind = any(part.startswith((".", "__pycache__")) for part in inside.parts)
            left_behind |= fnmatch(inside.as_posix(), RECORDED)
            if path.is_file() and path.suffix not in WRITTEN and not left_behind:
                yield inside.as_posix()


@pytest.fixture(scope="module")
def listed(repo) -> list[dict[str, str]]:
    return blocks((repo / "NOTICE").read_text(encoding="utf-8"))


def test_every_data_file_is_covered(repo, listed):
    files = list(data_files(repo))
    assert sum(name.endswith(".npz") for name in files) >= 50  # the golden files were found
    assert [f for f in files if not any(fnmatch(f, p) for p in patterns(listed))] == []


def test_nothing_is_named_that_is_not_there(repo, listed):
    files = list(data_files(repo))
    assert [p for p in patterns(listed) if not any(fnmatch(f, p) for f in files)] == []


def test_every_entry_is_whole(listed):
    assert len(listed) >= 3
    for block in listed:
        assert block.keys() == NEEDED and all(block.values()), block
        assert "/" not in block["files"]
        if "github.com" in block["source"]:
            assert re.search(r"\b[0-9a-f]{7,40}\b", block["commit"]), block


def test_arrays_are_named_one_by_one(listed):
    """A pattern would cover a new array that nobody has looked at."""
    assert [p for p in patterns(listed) if "*" in p and not p.endswith(".png")] == []


def test_a_file_that_nobody_explained_is_found(tmp_path):
    for folder in SHIPPED:
        (tmp_path / folder).mkdir()
    (tmp_path / "docs" / "scores.csv").write_text("task,score\n")
    (tmp_path / "docs" / "page.md").write_text("text\n")
    assert list(data_files(tmp_path)) == ["docs/scores.csv"]
