"""What pyproject.toml says is true of the tree and of the environment the tests run in."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

import dreamer_envs

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")

NAMESPACE = "hydra_plugins"  # of all plugins of Hydra, so without an __init__


@pytest.fixture(scope="module")
def project(repo) -> dict:
    return tomllib.loads((repo / "pyproject.toml").read_text())


def folders(root: Path, package: str) -> set[str]:
    found = {path.parent for path in root.rglob("*.py") if path.parent.name != NAMESPACE}
    return {".".join([package, *path.relative_to(root).parts]) for path in found}


def test_every_folder_with_code_is_listed_and_no_other(project, repo):
    packages = set(project["tool"]["setuptools"]["packages"])
    assert packages == (
        folders(repo / "dreamer_plugin", "dreamer_plugin")
        | folders(repo / "envs" / "dreamer_envs", "dreamer_envs")
        | {"dreamer_plugin.configs", NAMESPACE}
    )


def test_every_file_of_settings_is_listed_as_data(project, repo):
    data = project["tool"]["setuptools"]["package-data"]
    roots = {"dreamer_plugin.configs": "configs", "dreamer_envs": "envs/dreamer_envs"}
    listed = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in (repo / roots.get(package, package.replace(".", "/"))).glob(pattern)
    }
    folders_with_data = (repo / "configs", repo / "dreamer_plugin", repo / "envs")
    found = {
        path
        for folder in folders_with_data
        for kind in ("*.csv", "*.html", "*.json", "*.jsonl", "*.md", "*.safetensors", "*.yaml")
        for path in folder.rglob(kind)
    }
    assert found and found <= listed


def test_every_folder_with_code_is_a_regular_package(repo):
    for root in (repo / "dreamer_plugin", repo / "envs" / "dreamer_envs"):
        missing = {p.parent for p in root.rglob("*.py") if not (p.parent / "__init__.py").exists()}
        assert {folder.name for folder in missing} <= {NAMESPACE}


def test_both_packages_are_typed(repo):
    assert (repo / "dreamer_plugin" / "py.typed").exists()
    assert (repo / "envs" / "dreamer_envs" / "py.typed").exists()


def test_no_gpl_package_is_a_dependency(project):
    names = " ".join(project["project"]["dependencies"]).replace("-", "_").lower()
    assert "ale_py" not in names
    assert "craftground" not in names


def test_all_names_every_extra_but_the_developers_and_those_that_clash(project):
    extras = project["project"]["optional-dependencies"]
    listed = extras["all"][0].partition("[")[2].partition("]")[0].split(",")
    for line in extras["all"][1:]:
        listed += line.partition("[")[2].partition("]")[0].split(",")
    apart = {suite.extra for suite in dreamer_envs.available() if suite.apart}
    assert apart == {"metaworld", "minerl", "procgen", "robosuite", "unity"}
    # nle runs beside the others, but holds gymnasium at a release that pip takes long to find.
    assert sorted(listed) == sorted(set(extras) - {"all", "dev", "docs", "nle"} - apart)


def test_folders_of_the_checkout_are_no_modules(tmp_path):
    code = "import importlib.util as u; print([n for n in ('envs', 'configs') if u.find_spec(n)])"
    # Isolated: what PYTHONPATH names is not what is installed.
    command = [sys.executable, "-I", "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="dreamer-plugin")
    assert command.value == "dreamer_plugin.doors.cli:main"
    assert distribution("dreamer-plugin").metadata["License-Expression"] == "Apache-2.0"
