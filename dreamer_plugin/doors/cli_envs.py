"""`dreamer-plugin envs`: what exists, what is installed, what to install."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

import dreamer_envs
from dreamer_envs import SuiteInfo
from dreamer_envs.errors import EnvIdError
from dreamer_plugin.doors.cli_text import rendered
from dreamer_plugin.errors import UsageError, nearest


def suites_text(as_json: bool) -> str:
    """All suites: a table, or a JSON list."""
    infos = dreamer_envs.available()
    if as_json:
        return json.dumps([_facts(info) for info in infos], indent=2)
    table = Table("suite", "what it is", "tasks")
    table.add_column("package", no_wrap=True)
    table.add_column("tested", no_wrap=True)
    table.add_column("licence")
    for info in infos:
        count = str(len(dreamer_envs.tasks(info.name))) if info.installed else ""
        row = (info.name, info.summary, count, _package(info), _tested(info), info.licence)
        table.add_row(*(Text(cell) for cell in row))  # as text, for "[atari]" is no markup
    return rendered(table) + "\nTasks and options of one: dreamer-plugin envs SUITE"


def suite_text(suite: str, as_json: bool) -> str:
    """One suite: its options and tasks, as text or as a JSON object.

    Raises:
        UsageError: no such suite; names the nearest.
    """
    try:
        tasks = dreamer_envs.tasks(suite)
    except EnvIdError as error:
        names = [info.name for info in dreamer_envs.available()]
        told = nearest(suite, names, "suite")
        raise UsageError(f"{told} `dreamer-plugin envs` lists all.") from error
    info = dreamer_envs.suite_of(suite)
    options = dreamer_envs.options(info.name)
    if as_json:
        return json.dumps(
            _facts(info) | {"options": options, "tasks": tasks}, indent=2, default=str
        )
    lines = [f"{info.name}: {info.summary}", f"package: {_package(info)}"]
    why = f": {info.failure}" if info.failure else ""
    lines.append(f"tested: {_tested(info)}{why}")
    if info.recipe and not info.installed:
        lines.append(f"how to install: {info.recipe}")
    if info.apart:
        lines.append(f"in a Python environment of its own (env.python=PATH), as {info.apart}")
    lines += [f"env.{name}={value}" for name, value in options.items()]
    return "\n".join([*lines, *(f"{info.name}/{task}" for task in tasks)])


def _facts(info: SuiteInfo) -> dict[str, Any]:
    return asdict(info) | {"install": _install(info)}


def _install(info: SuiteInfo) -> str:
    if info.extra:
        return f"pip install 'dreamer-plugin[{info.extra}]'"
    return f"pip install {info.package}" if info.package else ""


def _tested(info: SuiteInfo) -> str:
    return info.tested or "not tested"


def _package(info: SuiteInfo) -> str:
    if not info.installed:
        page = f"see dreamer-plugin envs {info.name}"
        return f"missing: {page if info.recipe else _install(info)}"
    return f"{info.package} {info.version}" if info.package else "comes with dreamer-plugin"
