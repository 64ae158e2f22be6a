"""The commands and the Python that README.md shows are those that exist and are tried."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

FIRST_RUN = "pip install '.[atari]' && dreamer-plugin train --env atari/Pong --steps 2000"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def readme(repo) -> str:
    return (repo / "README.md").read_text(encoding="utf-8")


def test_the_first_screen_holds_both_commands(readme):
    first_screen = "\n".join(readme.splitlines()[:50])
    assert FIRST_RUN in first_screen
    assert "&& pytest" in first_screen


def test_ci_runs_the_same_test_command(readme, repo):
    (command,) = [line for line in readme.splitlines() if "&& pytest" in line]
    assert command in (repo / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("fails", ["pip", "pytest"])
def test_ci_ends_where_the_test_command_fails(readme, repo, fails):
    """Bash goes on after a command that fails before `&&`, whatever `set -e` says."""
    (command,) = [line for line in readme.splitlines() if "&& pytest" in line]
    lines = (repo / ".ci" / "run").read_text().splitlines()
    line = lines.index(command)
    fakes = [
        f"{name}() {{ {'false' if name == fails else 'true'}; }}" for name in ("pip", "pytest")
    ]
    script = ["set -euo pipefail", *fakes, *lines[line - 1 : line + 2], "echo went on"]
    ended = subprocess.run(["bash", "-c", "\n".join(script)], capture_output=True, text=True)
    assert ended.returncode and "went on" not in ended.stdout


def test_python_of_the_documents_parses(repo):
    for path in [repo / "README.md", *repo.joinpath("docs").rglob("*.md")]:
        for block in blocks(path.read_text(encoding="utf-8"), "python"):
            ast.parse(block, filename=path.name)


def test_names_that_the_documents_import_exist(repo):
    import importlib

    for path in [repo / "README.md", *repo.joinpath("docs").rglob("*.md")]:
        for block in blocks(path.read_text(encoding="utf-8"), "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("dreamer"):
                    module = importlib.import_module(node.module)
                    for alias in node.names:
                        assert getattr(module, alias.name) is not None


def test_links_to_files_lead_somewhere(repo):
    for path in [*repo.glob("*.md"), *repo.joinpath("docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_ci_can_be_executed(repo):
    mode = Path(repo / ".ci" / "run").stat().st_mode
    assert mode & 0o111
