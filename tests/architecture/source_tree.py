"""Reads the sources of both packages as syntax trees, without importing them."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = {"dreamer_plugin": "dreamer_plugin", "dreamer_envs": "envs/dreamer_envs"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name and its text."""

    name: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        """Syntax tree of the file."""
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """Folder or single file below the package: `data` for `dreamer_plugin.data.replay`."""
        return self.name.split(".")[1] if "." in self.name else "__init__"

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


@dataclass(frozen=True)
class Import:
    """One imported module, as far as the syntax tells."""

    target: str  # absolute dotted name; for `from a import b` it is `a.b`
    line: int
    in_function: bool


def load(repo: Path) -> list[Module]:
    """Reads every `.py` file of both packages."""
    modules = []
    for package, folder in PACKAGES.items():
        root = repo / folder
        for path in sorted(root.rglob("*.py")):
            parts = [package, *path.relative_to(root).with_suffix("").parts]
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            modules.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return modules


def imports(module: Module) -> list[Import]:
    """Every import statement of a module, relative ones made absolute."""
    inside = {id(node) for function in module.functions() for node in ast.walk(function)}
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [Import(target, node.lineno, id(node) in inside) for target in targets]
    return found


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join(parents + ([node.module] if node.module else []))


def code_lines(module: Module) -> set[int]:
    """Numbers of the lines that hold code: no blank line, no comment, no docstring."""
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node):
            first = node.body[0]
            lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def function_length(function: Function, lines: set[int]) -> int:
    """Lines of code of a function, its signature included."""
    return len(lines & set(range(function.lineno, (function.end_lineno or 0) + 1)))
