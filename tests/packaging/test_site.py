"""The documentation as a site, its tables of other libraries' words, and its notebook."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dreamer_plugin.config import compose
from dreamer_plugin.doors.cli import app
from dreamer_plugin.errors import UsageError

SETTING = re.compile(r"^[a-z_]+(\.[a-z_]+)+=\S+$")


def cells(page: str) -> list[str]:
    """What the second columns of a page's tables hold."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [row[1] for row in rows if len(row) == 2]


def words(page: str) -> list[str]:
    quoted = [text for cell in cells(page) for text in re.findall(r"`([^`]+)`", cell)]
    return [word for text in quoted for word in text.split()]


@pytest.fixture(scope="module")
def migrate(repo) -> str:
    return (repo / "docs" / "migrate.md").read_text(encoding="utf-8")


def test_every_setting_of_the_tables_can_be_composed(migrate):
    settings = {word for word in words(migrate) if SETTING.match(word)}
    assert len(settings) > 50
    for setting in sorted(settings):
        key, _, value = setting.partition("=")
        if key.startswith("env."):
            value = value if key == "env.obs" else json.loads(value)
        elif key not in ("replay.storage", "behavior.actor.gradient"):
            value = json.loads(value)
        # What actor and critic have of their own counts for agents with separate groups alone.
        agent = ["v3_2023"] if key.startswith(("optim.actor.", "optim.critic.")) else []
        compose("dmc/walker-walk", config=agent, options={key: value})


def test_a_setting_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="model.depth"):
        compose("dmc/walker-walk", options={"model.dept": 64})


def test_every_option_of_the_tables_exists(migrate):
    import typer

    known = {
        option
        for command in typer.main.get_command(app).commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    options = {word for word in words(migrate) if word.startswith("--")}
    assert len(options) > 8
    assert options <= known


def notebooks(repo: Path) -> list[Path]:
    return sorted((repo / "examples").rglob("*.ipynb"))


def code_of(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_notebooks_parse_and_import_what_exists(repo):
    assert notebooks(repo)
    for path in notebooks(repo):
        for node in ast.walk(ast.parse("\n".join(code_of(path)))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("dreamer"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert getattr(module, alias.name) is not None


def test_notebooks_are_kept_without_outputs(repo):
    for path in notebooks(repo):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None


def test_the_site_listens_at_home_alone(repo):
    assert "\ndev_addr: 127.0.0.1:" in (repo / "mkdocs.yml").read_text(encoding="utf-8")


def test_pages_have_their_place_in_the_navigation(repo):
    # Building the site says this too, but slowly, and a result is recorded in seconds.
    listed = set(re.findall(r"([\w/.-]+\.md)$", (repo / "mkdocs.yml").read_text("utf-8"), re.M))
    pages = {path.relative_to(repo / "docs").as_posix() for path in repo.glob("docs/**/*.md")}
    assert len(pages) > 30 and pages <= listed


@pytest.mark.slow
def test_the_notebook_runs(repo, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("matplotlib")
    from jupyter_client import AsyncKernelManager

    for path in notebooks(repo):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        # No port: sockets in a folder. It is named, since the kernel works in another than we do.
        sockets = str(tmp_path / "kernel")
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=sockets)
        resources = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(notebook, km=manager, timeout=600, resources=resources).execute()
        outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
        shown = "".join(out.get("text", "") for out in outputs)
        assert "200 steps, return 200" in shown  # this agent holds the pole to the end
        assert any("image/png" in out.get("data", {}) for out in outputs)


@pytest.fixture(scope="module")
def site(repo, tmp_path_factory) -> Path:
    """The site, built with warnings as errors."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-4000:]
    return folder


@pytest.mark.slow
def test_every_page_is_there(repo, site):
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    pages = {p.relative_to(repo / "docs").with_suffix("") for p in repo.glob("docs/**/*.md")}
    names = {page.as_posix().replace("README", "index") for page in pages}
    assert names <= built
    assert {"about/index", "about/CHANGELOG", "api/world", "api/dreamer_envs"} <= built


@pytest.mark.slow
def test_docstrings_are_in_the_reference(site):
    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert 'id="dreamer_plugin.doors.api.Dreamer.predict"' in text
    assert "modes of posterior and policy instead of samples" in text


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site):
    loads = re.compile(r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"//")
    sheets = re.compile(r"<link[^>]+rel=\"stylesheet\"[^>]+https?://|@import")
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not loads.search(text) and not sheets.search(text), page
