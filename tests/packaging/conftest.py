"""Builds the distributions once, from a clean copy of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

LEFT_BEHIND = (".git", ".venv*", "*.egg-info", "__pycache__", ".*_cache")
LEFT_AT_THE_TOP = ("venv", "build", "dist", "runs")  # below, `build` is a package


@dataclass(frozen=True)
class Distributions:
    """What one build gave, and the copy of the tree it was built from."""

    tree: Path
    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment that borrows the dependencies of the running one."""

    root: Path

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Runs this environment's Python away from the checkout; returns what it prints."""
        python = str(self.root / "bin" / "python")
        bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        result = subprocess.run(
            [python, *arguments],
            cwd=cwd or self.root,
            env=bare,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
        return result.stdout

    def install(self, *what: str) -> None:
        """Installs without dependencies and without a build environment of its own."""
        alone = ("--ignore-installed", "--no-deps", "--no-build-isolation")
        self.run("-m", "pip", "install", "-q", *alone, *what)


def copy_tree(repo: Path, target: Path) -> Path:
    """A copy of the checkout without what earlier builds and runs have left in it."""
    anywhere = shutil.ignore_patterns(*LEFT_BEHIND)
    top = shutil.ignore_patterns(*LEFT_BEHIND, *LEFT_AT_THE_TOP)

    def ignore(folder: str, names: list[str]) -> set[str]:
        return (top if Path(folder) == repo else anywhere)(folder, names)

    return shutil.copytree(repo, target, ignore=ignore)


@pytest.fixture(scope="session")
def distributions(repo, tmp_path_factory) -> Distributions:
    """Wheel and sdist; the wheel is built from the sdist, so both are put to the test."""
    pytest.importorskip("build")
    base = tmp_path_factory.mktemp("distributions")
    tree = copy_tree(repo, base / "tree")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(base), str(tree)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    return Distributions(tree, *base.glob("*.whl"), *base.glob("*.tar.gz"))


@pytest.fixture
def environment(tmp_path) -> Environment:
    """A fresh environment; editable installs of the running one are not visible in it."""
    root = tmp_path / "venv"
    command = [sys.executable, "-m", "venv", "--without-pip", str(root)]
    subprocess.run(command, check=True, timeout=120)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    borrowed |= {path for path in sys.path if path.endswith("site-packages")}
    pth = root / "lib" / version / "site-packages" / "borrowed.pth"
    pth.write_text("\n".join(sorted(borrowed)))
    return Environment(root)
