"""What a suite is, as data: its name, where its code lives, its tasks and what it needs."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

EntryPoint = str | Callable[..., Any]


def load(entry_point: EntryPoint) -> Callable[..., Any]:
    """Turns `"package.module:name"` into the object; a callable is returned as it is.

    Raises:
        ImportError, AttributeError: the module or the name does not exist.
    """
    if callable(entry_point):
        return entry_point
    module, _, name = entry_point.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


@dataclass(frozen=True)
class SuiteSpec:
    """A family of environments reached as `<name>/<task>`.

    Attributes:
        name: lower-case name before the slash.
        summary: one line for listings.
        entry_point: `"module:function"` or a function `(task, **options) -> gymnasium.Env`. It is
            imported at the first `make`. It may return any Gymnasium env; `make` wraps it.
        pool: entry point `(task, seeds, **options) -> Pool` (see `pool`) of a suite that steps
            several envs of one task together, faster than one by one; `None` if it does not.
        spaces: entry point `(task, **options) -> (observation space, action space)` of a suite
            whose envs start slowly, for who needs no more; `None` to make an env and look.
        tasks: the task names, or an entry point that returns them.
        module: top-level import name of the package the suite needs; empty if none.
        package: name of that package in the registry, for its version.
        extra: pip extra of `dreamer-plugin` that installs it.
        apt: Debian packages it needs to draw images; empty if none.
        licence: licence of that package.
        aliases: other spellings of `name`.
        spellings: `(pattern, replacement)` pairs applied to a task before it is looked up.
        match: entry point `(text) -> task or None` for suites whose tasks are not a fixed list.
        bare: whether a task may be given without the suite.
        defaults: options that this suite sets for its entry point.
        terminal_on_timeout: whether the published protocol counts a time limit as a terminal
            state. The environment's own flags stay honest; whoever builds records applies this.
        action_repeat: simulator frames per step, with default options.
        apart: why the package needs a Python environment of its own; empty if it does not.
        recipe: how to install the package where the extra alone does not; empty if it does.
        python_below: the first Python that the package does not install on; empty if there is none.
    """

    name: str
    summary: str
    entry_point: EntryPoint
    tasks: tuple[str, ...] | EntryPoint
    module: str = ""
    package: str = ""
    extra: str = ""
    apt: str = ""
    licence: str = ""
    aliases: tuple[str, ...] = ()
    spellings: tuple[tuple[str, str], ...] = ()
    match: EntryPoint | None = None
    pool: EntryPoint | None = None
    spaces: EntryPoint | None = None
    bare: bool = True
    defaults: Mapping[str, Any] = field(default_factory=dict)
    terminal_on_timeout: bool = False
    action_repeat: int = 1
    apart: str = ""
    recipe: str = ""
    python_below: tuple[int, ...] = ()

    def task_names(self) -> tuple[str, ...]:
        """The tasks, asking the entry point if they are not fixed."""
        if isinstance(self.tasks, tuple):
            return self.tasks
        return tuple(load(self.tasks)())

    def installed(self) -> bool:
        """Whether the package is there; looks without importing it."""
        return not self.module or importlib.util.find_spec(self.module) is not None

    def version(self) -> str:
        """Version of the installed package, or `""`."""
        if not self.package or not self.installed():
            return ""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return ""


@dataclass(frozen=True)
class SuiteInfo:
    """What a listing shows of a suite; fields as in `SuiteSpec`.

    Attributes:
        tested: when, and with which version, `tests/envs/matrix` stepped it, or
            `tests/envs/standins` against a stand-in, which it then says; empty if neither has.
        failure: when, and why, `tests/envs/matrix` could not step it; else empty.
    """

    name: str
    summary: str
    package: str
    extra: str
    apt: str
    licence: str
    installed: bool
    version: str
    terminal_on_timeout: bool
    action_repeat: int
    apart: str
    recipe: str
    tested: str
    failure: str

    @classmethod
    def of(cls, spec: SuiteSpec) -> SuiteInfo:
        """Info of a suite as it is on this machine."""
        return cls(
            name=spec.name,
            summary=spec.summary,
            package=spec.package,
            extra=spec.extra,
            apt=spec.apt,
            licence=spec.licence,
            installed=spec.installed(),
            version=spec.version(),
            terminal_on_timeout=spec.terminal_on_timeout,
            action_repeat=spec.action_repeat,
            apart=spec.apart,
            recipe=spec.recipe,
            tested=_tested(spec.name),
            failure=_failure(spec.name),
        )


def _tested(name: str) -> str:
    found = _results().get(name)
    if not found or "failed" in found:
        return ""
    how = "with a stand-in" if found.get("standin") else ""
    return " ".join(filter(None, (how, found["version"], found["date"])))


def _failure(name: str) -> str:
    found = _results().get(name, {})
    return f"{found['failed']} ({found['date']})" if "failed" in found else ""


@cache
def _results() -> dict[str, Any]:
    """What `tests/envs/matrix` found, by suite."""
    results: dict[str, Any] = json.loads((Path(__file__).parent / "suites/tested.json").read_text())
    return results
