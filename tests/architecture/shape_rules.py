"""How code looks. Each rule takes modules and returns one sentence per violation."""

from __future__ import annotations

import ast
from statistics import median

from source_tree import Module, code_lines, function_length

FILE_LINES, FUNCTION_LINES, USUAL_LINES, MEDIAN_LINES = 300, 80, 30, 10
GRAB_BAGS = {"utils", "util", "tools", "common", "misc", "helpers", "stuff"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CORE = {"ops", "nets", "data", "optim", "world", "behavior", "agent", "build", "interop", "ext"}
VERSIONS = {"v1", "v2", "v3", "dreamerv1", "dreamerv2", "dreamerv3"}


def long_files(modules: list[Module]) -> list[str]:
    """Files over the limit, docstrings and comments not counted."""
    sizes = {module.name: len(code_lines(module)) for module in modules}
    return [f"{name}: {size} lines" for name, size in sizes.items() if size > FILE_LINES]


def long_functions(modules: list[Module]) -> list[str]:
    """Functions over the limit, and an overall shape with too many long ones."""
    sizes = _sizes(modules)
    wrong = [f"{name}: {size} lines" for name, size in sizes.items() if size > FUNCTION_LINES]
    usual = sum(size < USUAL_LINES for size in sizes.values())
    if usual < 0.9 * len(sizes):
        wrong.append(f"only {usual} of {len(sizes)} functions are under {USUAL_LINES} lines")
    if sizes and median(sizes.values()) > MEDIAN_LINES:
        wrong.append(f"the median function has {median(sizes.values())} lines")
    return wrong


def grab_bags(modules: list[Module]) -> list[str]:
    """Modules named after nothing."""
    return [
        f"{module.name}: name the noun it serves"
        for module in modules
        if any(set(part.split("_")) & GRAB_BAGS for part in module.name.split(".")[1:])
    ]


def version_branches(modules: list[Module]) -> list[str]:
    """Branches of the core on the version of the agent: a version is parts and numbers."""
    return [
        f"{module.name}:{node.test.lineno}: branches on a version"
        for module in modules
        if module.name.startswith("dreamer_plugin.") and module.room in CORE
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If | ast.IfExp | ast.While) and _names_version(node.test)
    ]


def unsafe(modules: list[Module]) -> list[str]:
    """Everything that could run code hidden in a file or a message."""
    return [
        f"{module.name}:{getattr(node, 'lineno', 0)}: {reason}"
        for module in modules
        for node in ast.walk(module.tree)
        if (reason := _unsafe_import(node) or _unsafe_call(node))
    ]


def missing_docstrings(modules: list[Module]) -> list[str]:
    """Public modules, classes and functions that say nothing about themselves."""
    wrong = []
    for module in modules:
        if not ast.get_docstring(module.tree) and module.text.strip():
            wrong.append(f"{module.name}: the module has no docstring")
        wrong += [f"{module.name}.{name}: no docstring" for name in _undocumented(module.tree)]
    return wrong


def _sizes(modules: list[Module]) -> dict[str, int]:
    sizes = {}
    for module in modules:
        lines = code_lines(module)
        for function in module.functions():
            key = f"{module.name}:{function.lineno} {function.name}"
            sizes[key] = function_length(function, lines)
    return sizes


def _names_version(test: ast.expr) -> bool:
    for node in ast.walk(test):
        name = getattr(node, "id", None) or getattr(node, "attr", None) or ""
        if name == "version" or name.endswith("_version"):
            return True
        if isinstance(node, ast.Constant) and str(node.value).lower() in VERSIONS:
            return True
    return False


def _unsafe_import(node: ast.AST) -> str | None:
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        names = [node.module or ""]
    return next((f"imports {n}" for n in names if n.split(".")[0] in UNSAFE_MODULES), None)


def _unsafe_call(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
    if keywords.get("allow_pickle") is True:
        return "allow_pickle=True"
    if keywords.get("weights_only", True) is not True:
        return "weights_only is not True"
    if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "compile"}:
        return f"calls {node.func.id}"
    return (
        _unsafe_method(node, node.func, keywords) if isinstance(node.func, ast.Attribute) else None
    )


def _unsafe_method(call: ast.Call, func: ast.Attribute, keywords: dict) -> str | None:
    owner = getattr(func.value, "id", "")
    if owner == "yaml" and func.attr in {"load", "load_all", "unsafe_load", "full_load"}:
        return f"calls yaml.{func.attr}"
    if owner == "torch" and func.attr == "load" and "weights_only" not in keywords:
        return "torch.load without weights_only=True"
    if func.attr == "recv" and not call.args and not call.keywords:
        return "a pipe's recv() unpickles; use recv_bytes()"
    return None


def _undocumented(node: ast.Module | ast.ClassDef, prefix: str = "") -> list[str]:
    wrong = []
    for child in node.body:
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if child.name.startswith("_") or _is_overload(child):
            continue
        if not ast.get_docstring(child):
            wrong.append(prefix + child.name)
        if isinstance(child, ast.ClassDef):
            wrong += _undocumented(child, f"{prefix}{child.name}.")
    return wrong


def _is_overload(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = {getattr(d, "attr", None) or getattr(d, "id", None) for d in node.decorator_list}
    return bool(names & {"overload", "setter"})
