"""Plain YAML in and out: safe, small, without aliases, duplicates or interpolation."""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from dreamer_plugin.errors import UsageError

MAX_BYTES = 256 * 1024  # the largest resolved config is below 10 kB
MAX_DEPTH = 20


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping of plain values from a file.

    Args:
        path: of the file.

    Returns:
        Nested dictionaries, lists, strings, numbers, booleans and None.

    Raises:
        UsageError: when it is missing, too large, not YAML, not a mapping, or not plain.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8.") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES // 1024} kB: not a configuration.")
    tree = parse_yaml(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UsageError(f"{path} holds {kind(tree)}, not `key: value` lines.")
    return tree


def parse_yaml(text: str, source: str) -> Any:
    """Parse one plain YAML value.

    Args:
        text: the YAML.
        source: where it came from, for messages.

    Raises:
        UsageError: when it is not YAML or not plain.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _check_node(node, source, set(), 0)
        value = yaml.safe_load(text)
    except UsageError:
        raise
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not valid YAML{_place(error)}.") from error
    except (ValueError, RecursionError) as error:
        # PyYAML lets both through: dates such as 2024-13-45, and thousands of brackets.
        raise UsageError(f"{source} is not valid YAML.") from error
    _check_plain(value, source)
    return value


def yaml_text(tree: dict[str, Any]) -> str:
    """YAML of a nested dictionary, in its own order, one key a line."""
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=1000))


def write_text(text: str, path: Path) -> None:
    """Write a file whole or not at all: to a neighbour first, which is then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def kind(value: Any) -> str:
    """What a plain value is, in a user's words."""
    names = {bool: "a yes/no value", int: "a whole number", float: "a number", str: "text"}
    names |= {list: "a list", dict: "a section", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")


def _check_node(node: yaml.Node, source: str, seen: set[int], depth: int) -> None:
    """Refuse aliases (a few lines can grow to gigabytes), repeated keys and deep nesting."""
    if depth > MAX_DEPTH:
        raise UsageError(f"{source} is nested deeper than {MAX_DEPTH} levels.")
    if id(node) in seen:
        raise UsageError(f"{source} uses YAML aliases; write the values out.")
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_node(item, source, seen, depth + 1)
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            repeated = Counter(keys).most_common(1)[0][0]
            raise UsageError(f"{source} sets {repeated!r} twice.")
        for pair in node.value:
            for item in pair:
                _check_node(item, source, seen, depth + 1)


def _check_plain(value: Any, source: str) -> None:
    """Refuse what a resolved configuration may not hold, interpolation first of all."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise UsageError(f"{source} has the key {key!r}; keys are text, so quote it.")
            _check_plain(key, source)
            _check_plain(item, source)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, source)
    elif isinstance(value, str):
        if "${" in value or value == "???":
            what = "'???'" if value == "???" else "'${'"
            raise UsageError(f"{source} has {what} in {value!r}; write the value itself.")
    elif isinstance(value, float) and math.isnan(value):  # an infinite bound is one, of some envs
        raise UsageError(f"{source} has .nan, which is not a number.")
    elif value is not None and not isinstance(value, (bool, int, float)):
        raise UsageError(f"{source} has {kind(value)} ({value}); quote it to make it text.")


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    where = f" (line {mark.line + 1})" if mark else ""
    return f"{where}: {problem}" if problem else where
