"""What the site of the documentation adds to docs/*.md (a hook of MkDocs, see mkdocs.yml).

The pages link to files outside of docs, such as ../README.md and ../examples/own_head.py, as they
should on a Git host. Here each such file becomes a page below `about/`, and the link leads there.
The pages of the API are made of the docstrings, one per room.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()((?!\w+:|#|/)[^)\s#]+)((?:#[^)\s]*)?\))")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".ipynb": "json"}
ABOUT = "about"

# Title of a page, and the packages or modules that it documents.
API = {
    "index": ("The public names", ["dreamer_plugin.doors.api"]),
    "dreamer_envs": ("Environments", ["dreamer_envs"]),
    "ops": ("Mathematics", ["dreamer_plugin.ops"]),
    "nets": ("Networks", ["dreamer_plugin.nets"]),
    "data": ("Replay and collection", ["dreamer_plugin.data"]),
    "world": ("World model", ["dreamer_plugin.world"]),
    "behavior": ("Behavior", ["dreamer_plugin.behavior"]),
    "agent": ("Agent and optimiser", ["dreamer_plugin.agent", "dreamer_plugin.optim"]),
    "config": ("Configuration", ["dreamer_plugin.config"]),
    "interop": ("TorchRL", ["dreamer_plugin.interop"]),
    "run": ("Runs", ["dreamer_plugin.run"]),
    "study": ("Studies", ["dreamer_plugin.study"]),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages link to, those that these link to in turn, the API, colours."""
    colours = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    files.append(File.generated(config, "colours.css", content=colours))
    for name, (title, packages) in API.items():
        files.append(File.generated(config, f"api/{name}.md", content=api_page(title, packages)))
    waiting = [file.src_uri for file in files.documentation_pages() if file.abs_src_path]
    while waiting:
        source = waiting.pop()
        for target in outside(source, written(source)):
            place = place_of(target)
            if files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, content=shown(target)))
                if target.endswith(".md"):
                    waiting.append(place)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that leave docs, or that stand in a file from outside, to the pages made here."""
    here = page.file.src_uri

    def turned(match: re.Match[str]) -> str:
        target = target_of(here, match[2])
        inside = target.startswith("docs/") and not (ROOT / target).is_dir()
        place = target.removeprefix("docs/") if inside else place_of(target)
        return match[1] + posixpath.relpath(place, posixpath.dirname(here) or ".") + match[3]

    return LINK.sub(turned, markdown)


def api_page(title: str, packages: list[str]) -> str:
    """A page that asks mkdocstrings for every module."""
    modules = [module for package in packages for module in modules_of(package)]
    return f"# {title}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"


def modules_of(package: str) -> list[str]:
    """The package and every public module in it, or the module alone."""
    folder = package.replace(".", "/")
    base = next(each for each in (ROOT, ROOT / "envs") if (each / package.split(".")[0]).is_dir())
    if not (base / folder).is_dir():
        return [package]
    paths = sorted((base / folder).glob("[!_]*.py"))
    return [package, *(f"{package}.{path.stem}" for path in paths)]


def target_of(source: str, link: str) -> str:
    """The file that a link of a page means, as a path in the repository."""
    folder = posixpath.dirname(origin(source))
    return posixpath.normpath(posixpath.join(folder, link))


def origin(source: str) -> str:
    """The file in the repository that a page shows."""
    inside = source.removeprefix(f"{ABOUT}/")
    return f"docs/{source}" if inside == source else inside


def place_of(target: str) -> str:
    """The page of a file from outside."""
    name = target if target.endswith(".md") else f"{target}.md"
    return f"{ABOUT}/{name}"


def outside(source: str, text: str) -> set[str]:
    """What a page links to that is no page of docs but is there; strict tells of the rest."""
    targets = {target_of(source, match[2]) for match in LINK.finditer(text)}
    elsewhere = {each for each in targets if not each.startswith("docs/")}
    folders = {each for each in targets - elsewhere if (ROOT / each).is_dir()}
    return {each for each in elsewhere | folders if (ROOT / each).exists()}


def written(source: str) -> str:
    """The Markdown of a page."""
    return (ROOT / origin(source)).read_text(encoding="utf-8")


def shown(target: str) -> str:
    """A file or folder of the repository as Markdown."""
    path = ROOT / target
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    if path.is_dir():
        names = sorted(each.name for each in path.iterdir() if not each.name.startswith(("_", ".")))
        body = "\n".join(f"- `{name}`" for name in names)
        return f"# {target}\n\n{body}\n"
    text = path.read_text(encoding="utf-8")
    return f"# {target}\n\n~~~~{LANGUAGES.get(path.suffix, 'text')}\n{text}\n~~~~\n"
