"""The wheel, the sdist and an editable install hold the tree: all of it, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SHOW = (
    "import json, dreamer_plugin, dreamer_envs, importlib.util as u;"
    "print(json.dumps([dreamer_plugin.__file__, dreamer_envs.__file__,"
    " [n for n in ('envs', 'configs') if u.find_spec(n)]]))"
)

MOD = ("*.lua", "mod.conf")  # of Minetest
DATA = ("*.csv", "*.html", "*.json", "*.jsonl", "*.md", "*.safetensors", "*.yaml")
NAMESPACE = "hydra_plugins"  # of all plugins of Hydra; lies among our doors in the tree


def installed_files(tree: Path) -> set[str]:
    """Every file of the tree that an installation must have, under its installed name."""
    places = {
        "dreamer_plugin": (tree / "dreamer_plugin", ("*.py", "py.typed", *DATA)),
        "dreamer_envs": (tree / "envs" / "dreamer_envs", ("*.py", "py.typed", "*.json", *MOD)),
        "dreamer_plugin/configs": (tree / "configs", ("*.yaml",)),
    }
    names = {
        f"{name}/{path.relative_to(root).as_posix()}"
        for name, (root, patterns) in places.items()
        for pattern in patterns
        for path in root.rglob(pattern)
    }
    return {
        name.removeprefix("dreamer_plugin/doors/") if NAMESPACE in name else name for name in names
    }


def source_files(tree: Path) -> set[str]:
    """Every file of the tree that a source archive must have."""
    folders = (tree / "dreamer_plugin", tree / "envs", tree / "configs")
    patterns = ("*.py", "py.typed", *DATA, *MOD)
    files = {path for folder in folders for pattern in patterns for path in folder.rglob(pattern)}
    top = ("CHANGELOG.md", "LICENSE", "MANIFEST.in", "NOTICE", "README.md", "pyproject.toml")
    return {path.relative_to(tree).as_posix() for path in files} | set(top)


def test_the_wheel_is_the_tree(distributions):
    names = set(zipfile.ZipFile(distributions.wheel).namelist())
    info = {name for name in names if ".dist-info/" in name}
    assert names - info == installed_files(distributions.tree)
    assert any(name.endswith("/licenses/LICENSE") for name in info)
    assert any(name.endswith("/licenses/NOTICE") for name in info)


def test_no_config_is_left_out(distributions):
    names = zipfile.ZipFile(distributions.wheel).namelist()
    configs = [name for name in names if name.startswith("dreamer_plugin/configs/")]
    assert len(configs) == len(list((distributions.tree / "configs").rglob("*.*"))) > 0


def test_the_sdist_is_the_tree(distributions):
    with tarfile.open(distributions.sdist) as archive:
        files = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    generated = {name for name in files if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert files - generated == source_files(distributions.tree)


def test_the_metadata(distributions):
    archive = zipfile.ZipFile(distributions.wheel)
    name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert {"atari", "dmc", "crafter", "sb3", "hydra", "plot", "wandb", "ray", "dev", "all"} <= set(
        metadata.get_all("Provides-Extra")
    )


def test_the_wheel_works_away_from_the_tree(distributions, environment):
    environment.install(str(distributions.wheel))
    plugin, envs, leaked = json.loads(environment.run("-c", SHOW))
    assert Path(plugin).is_relative_to(environment.root)
    assert Path(envs).is_relative_to(environment.root)
    assert leaked == []
    shown = environment.run("-m", "dreamer_plugin", "show", "--env", "toy/catch")
    assert "toy/catch" in shown


def test_an_editable_install_points_at_the_tree(distributions, environment):
    environment.install("-e", str(distributions.tree))
    plugin, envs, leaked = json.loads(environment.run("-c", SHOW))
    assert Path(plugin).is_relative_to(distributions.tree / "dreamer_plugin")
    assert Path(envs).is_relative_to(distributions.tree / "envs" / "dreamer_envs")
    assert leaked == []
    shown = environment.run("-m", "dreamer_plugin", "show", "--env", "toy/catch")
    assert "toy/catch" in shown


def test_all_extras_resolve_together(repo, tmp_path):
    """Needs the network: asks pip for one set of versions that suits every extra at once."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    result = subprocess.run(
        [*command, "--report", str(report), f"{repo}[all]"],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    installed = json.loads(report.read_text())["install"]
    chosen = {item["metadata"]["name"].lower() for item in installed}
    wanted = {"ale-py", "crafter", "stable_baselines3", "hydra-core", "wandb", "ray"}
    assert wanted <= chosen
