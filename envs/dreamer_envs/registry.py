"""Every environment by name: look-up, listing, construction, and the door for other packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from numbers import Real
from typing import Any, cast

import gymnasium as gym
from gymnasium import spaces

from dreamer_envs import names, values
from dreamer_envs.errors import (
    EnvIdError,
    EnvOptionError,
    MissingPackageError,
    UnknownOptionError,
)
from dreamer_envs.observations import observation
from dreamer_envs.remote import RemoteEnv, find_python
from dreamer_envs.spec import SuiteInfo, SuiteSpec, load
from dreamer_envs.suites import BUILTIN
from dreamer_envs.transforms import native_action, wrap

ENTRY_POINT_GROUP = "dreamer_envs.suites"

_SUITES: dict[str, SuiteSpec] = {spec.name: spec for spec in BUILTIN}


@dataclass(frozen=True)
class Maker:
    """Everything needed to build one env, small enough to be sent to another process.

    Attributes:
        id: canonical id, for messages.
        suite: the suite.
        task: the task in it.
        options: keyword arguments of the suite's entry point.
        registration: Gymnasium spec of an id that only this process may know.
        python: another Python that the env runs in; empty for this one.
    """

    id: str
    suite: SuiteSpec
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    registration: Any = None
    python: str = ""

    def __call__(self) -> gym.Env[Any, Any]:
        """Builds the env in its common form."""
        if self.python:
            return wrap(RemoteEnv(self.python, self.id, self.options))
        if self.registration is not None:
            gym.registry[self.registration.id] = self.registration
        return wrap(load(self.suite.entry_point)(self.task, **self.options))

    def spaces(self) -> tuple[spaces.Dict, spaces.Space[Any]]:
        """Observation and action space of the env, which is made for it if the suite must."""
        if self.suite.spaces is not None and not self.python:
            observed, acted = load(self.suite.spaces)(self.task, **self.options)
            return observation(observed)[0], native_action(acted)[0]
        env = self()
        try:
            return cast(spaces.Dict, env.observation_space), env.action_space
        finally:
            env.close()


def make(id: str, /, **options: Any) -> gym.Env[Any, Any]:
    """Builds an environment in the common form.

    Args:
        id: `"suite/task"`, or any accepted spelling of one.
        options: keyword arguments of the suite; `options(id)` lists them. Every suite also takes
            `python`: path of another Python, or folder of a virtual environment, to run the env in.

    Returns:
        A Gymnasium env with a `Dict` observation space (images uint8 `[H, W, C]`, vectors
        float32, discrete spaces as they are), continuous actions in [-1, 1], rewards as the task
        gives them, honest `terminated` and `truncated`, and the attributes `action_repeat` and
        `can_save`.

    Raises:
        EnvIdError: unknown or ambiguous id.
        EnvOptionError: unknown option or bad value.
        MissingPackageError: the suite's package or a system library is missing.
    """
    return maker(id, **options)()


def maker(id: str, /, **options: Any) -> Maker:
    """What `make` would build, as a small object that builds it when called, here or elsewhere.

    The errors of `make` come here, not where it is called.
    """
    suite, task = names.resolve(id, _known())
    canonical_id = f"{suite.name}/{task}"
    python = options.pop("python", None)
    if not python:
        _require_package(suite, canonical_id)
    options = _checked_options(suite, canonical_id, options)
    if python:
        return Maker(canonical_id, suite, task, options, python=find_python(str(python)))
    return Maker(
        canonical_id, suite, task, {**suite.defaults, **options}, _registration(suite, task)
    )


def register(spec: SuiteSpec, *, replace: bool = False) -> None:
    """Adds a suite. Packages do the same with an entry point in the group `dreamer_envs.suites`.

    Args:
        spec: the suite; its `entry_point(task, **options)` may return any Gymnasium env.
        replace: whether a suite of the same name may be replaced.

    Raises:
        ValueError: the name is taken, or cannot be part of an id.
    """
    if not spec.name or names.fold(spec.name) != spec.name.replace("_", "").replace("-", ""):
        raise ValueError(f"Suite name {spec.name!r}: use lower-case letters, digits, '-' and '_'.")
    taken = names.find_suite(spec.name, _SUITES)
    if taken is not None and not (replace and taken.name == spec.name):
        raise ValueError(
            f"Suite {spec.name!r} exists ({taken.summary}); pass replace=True to replace it."
        )
    _SUITES[spec.name] = spec


def allow_import(module: str) -> None:
    """Imports a module, whose envs may then be named `module:Id-v0`.

    An id alone, which may stand in a file of somebody else, never imports anything.

    Raises:
        EnvIdError: the module cannot be imported.
    """
    try:
        importlib.import_module(module)
    except (ImportError, ValueError, TypeError) as error:
        raise EnvIdError(f"Cannot import {module!r}: {error}.") from error


def available() -> list[SuiteInfo]:
    """All suites, sorted by name, whether installed or not. Imports none of them."""
    return [SuiteInfo.of(spec) for _, spec in sorted(_known().items())]


def tasks(suite: str) -> list[str]:
    """Sorted task names of a suite.

    Raises:
        EnvIdError: no such suite.
    """
    return sorted(_suite(suite).task_names())


def options(id_or_suite: str) -> dict[str, Any]:
    """Options of a suite with their defaults, in the order of its entry point.

    Raises:
        EnvIdError: no such suite or id.
    """
    spec = _suite(id_or_suite)
    declared = _parameters(spec)
    named = {name: p.default for name, p in declared.items() if p.kind is not p.VAR_KEYWORD}
    return {**named, **spec.defaults, "python": None}


def canonical(id: str) -> str:
    """The one spelling `suite/task` of an id.

    Raises:
        EnvIdError: unknown or ambiguous.
    """
    suite, task = names.resolve(id, _known())
    return f"{suite.name}/{task}"


def suite_of(id_or_suite: str) -> SuiteInfo:
    """Info of the suite that an id belongs to, or that has this name.

    Raises:
        EnvIdError: unknown or ambiguous.
    """
    return SuiteInfo.of(_suite(id_or_suite))


def register_with_gymnasium() -> None:
    """Registers `<suite>/<task>-v0` of the built-in suites, leaving ids that exist alone.

    The `gym` suite is not among them: its ids are Gymnasium's own.
    """
    for spec in BUILTIN:
        if not isinstance(spec.tasks, tuple):
            continue
        for task in spec.tasks:
            gym_id = f"{spec.name}/{task}-v0"
            if gym_id not in gym.registry:
                gym.register(
                    gym_id,
                    entry_point="dreamer_envs.registry:_make_registered",
                    kwargs={"env_id": f"{spec.name}/{task}"},
                )


def _make_registered(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    """What Gymnasium calls for our ids.

    Raises:
        TypeError: an option that the suite has not, in the words of a function that lacks an
            argument: TorchRL's `GymEnv` offers `frameskip` and takes it back on reading them.
    """
    try:
        return make(env_id, **options)
    except UnknownOptionError as error:
        raise TypeError(f"unexpected keyword argument {error.option!r}: {error}") from error


def _known() -> dict[str, SuiteSpec]:
    _load_plugins()
    return _SUITES


@cache
def _load_plugins() -> None:
    """Adds the suites of installed packages, once; a broken one is reported and left out."""
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            spec = entry.load()
            if not isinstance(spec, SuiteSpec):
                raise TypeError(f"{entry.value} is not a SuiteSpec")
            taken = names.find_suite(spec.name, _SUITES)
            if taken is not None:
                raise ValueError(f"the name {spec.name!r} is taken by {taken.summary!r}")
            register(spec)
        except Exception as error:
            package = entry.dist.name if entry.dist else entry.name
            warnings.warn(
                f"Suite {entry.name!r} of the package {package!r} was left out: {error}; "
                f"`pip uninstall {package}` if you do not need it, else tell its author.",
                RuntimeWarning,
                stacklevel=2,
            )


def _suite(text: str) -> SuiteSpec:
    return names.find_suite(text, _known()) or names.resolve(text, _known())[0]


def _require_package(suite: SuiteSpec, id: str) -> None:
    if suite.installed():
        return
    if suite.recipe:
        raise MissingPackageError(f"{id} needs the package {suite.package!r}: {suite.recipe}.")
    package = suite.package or suite.module
    remedy = (
        f"pip install 'dreamer-plugin[{suite.extra}]'" if suite.extra else f"pip install {package}"
    )
    own = (
        f" in a Python environment of its own, as {suite.apart}; then make it with "
        "python=PATH of that environment"
        if suite.apart
        else ""
    )
    below, here = (".".join(map(str, v)) for v in (suite.python_below, sys.version_info[:2]))
    if suite.python_below and sys.version_info[:2] >= suite.python_below:
        own = (
            f" with a Python below {below}, for this is {here} and the package has nothing for it"
            + (own or "; then make it with python=PATH of that Python")
        )
    apt = f" (on Debian or Ubuntu also, to draw: apt-get install {suite.apt})" if suite.apt else ""
    raise MissingPackageError(f"{id} needs the package {package!r}: {remedy}{own}{apt}.")


def _checked_options(suite: SuiteSpec, id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options, of the kinds that a suite of ours has as defaults."""
    checked = dict(given)
    declared = _parameters(suite)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in declared.values())
    for option, value in given.items():
        if option in declared and suite in BUILTIN:
            checked[option] = _checked_value(id, option, value, declared[option].default)
        elif option not in declared and not takes_any:
            close = names.nearest(option, {name: name for name in declared})
            hint = f" Did you mean {close!r}?" if close else ""
            message = f"{id} has no option {option!r}.{hint} It has: {', '.join(declared)}."
            raise UnknownOptionError(message, option)
    return checked


def _checked_value(id: str, option: str, value: Any, default: Any) -> Any:
    """A value of the default's kind; no picture has less than one row."""
    if isinstance(default, bool):
        right, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        right, kind = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif isinstance(default, float):
        value = _number(value)
        right, kind = isinstance(value, Real) and not isinstance(value, bool), "a number"
    else:
        return value
    if not right:
        raise EnvOptionError(f"{option} is {value!r} for {id}; it must be {kind}.")
    if option == "size":
        values.at_least(id, size=(value, 1))
    return value


def _number(value: Any) -> Any:
    """The number that a text is: YAML reads `1e-1`, without a point, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _parameters(suite: SuiteSpec) -> dict[str, inspect.Parameter]:
    entry: Callable[..., Any] = load(suite.entry_point)
    return dict(list(inspect.signature(entry).parameters.items())[1:])


def _registration(suite: SuiteSpec, task: str) -> Any:
    """Spec of a Gymnasium id, which the user's script may have registered, or over Gymnasium's own.

    None where only Gymnasium knows what is meant: another version of a name, a module to import.
    """
    return gym.registry.get(task) if suite.name == "gym" and ":" not in task else None
