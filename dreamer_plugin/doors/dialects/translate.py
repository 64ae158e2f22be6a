"""From settings in a document's words to ours: which env, which preset, which keys on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dreamer_envs
from dreamer_plugin.config import Config, compose
from dreamer_plugin.config.fields import OPTIONS
from dreamer_plugin.doors.dialects.dialect import Dialect
from dreamer_plugin.doors.dialects.forms import whole
from dreamer_plugin.doors.dialects.plan import derive
from dreamer_plugin.doors.dialects.settings import DreamerConfig
from dreamer_plugin.doors.dialects.words_cli import of_suite
from dreamer_plugin.errors import UsageError

TOGETHER = (
    ("kl_scale", "kl_balance", "kl_forward"),
    ("train_every", "train_steps"),
)  # say one, need all
LIMITS = ("length", "time_limit", "max_episode_steps")  # of an episode, as suites call them


@dataclass(frozen=True)
class Translation:
    """A request of ours.

    Args:
        env: id, or an env object. preset: for `--config`.
        options: dotted key -> value on top of it.
        load: what training goes on from, empty for nothing.
        notes: sentences on settings that do nothing.
    """

    env: Any
    preset: str
    options: Mapping[str, Any]
    load: str = ""
    notes: list[str] = field(default_factory=list)

    def compose(self) -> Config:
        """The configuration, not fitted to this machine."""
        name = self.env if isinstance(self.env, str) else ""
        return compose(name, config=[self.preset], options=self.options).config


def translate_settings(settings: DreamerConfig) -> Translation:
    """Settings in our words.

    Raises:
        UsageError: at a setting that is unknown, contradicts another, or cannot be had here.
        dreamer_envs.errors.EnvsError: when the env does not exist.
    """
    dialect, version = settings.dialect, settings.version
    # A setting that repeats the default changes nothing: the preset holds it.
    default = settings.defaults
    changed = {n: v for n, v in settings.said.items() if n not in default or v != default[n]}
    preset = dialect.presets.get(version)
    if preset is None:
        have = ", ".join(f"Dreamer{each}" for each in dialect.presets)
        raise UsageError(f"Dreamer{version} is not in {dialect.name}, which has {have}")
    said = dialect.read(changed, version)
    numbers = dialect.read({n: v for n, v in default.items() if v is not None}, version).numbers
    numbers |= said.numbers
    env, options = _env(settings, numbers), dict(said.options)
    if isinstance(env, str) and env:
        options |= _env_options(dialect, env, numbers, options, said.suites)
    elif env:
        options = {key: v for key, v in options.items() if not key.startswith(f"{OPTIONS}.")}
    if settings.base:
        options = {"run.logdir": "", **options}  # not into the run that the file is of
    if numbers.get("run_name"):
        options["run.logdir"] = f"runs/{numbers['run_name']}"
    plain = Translation(env, settings.base or preset, options)
    derived = _derived(dialect, version, numbers, plain)
    load = str(numbers.get("load", ""))
    return Translation(env, plain.preset, {**derived, **options}, load, said.notes)


def _derived(
    dialect: Dialect, version: str, numbers: Mapping[str, Any], plain: Translation
) -> dict[str, Any]:
    """What follows from several settings; a key of ours that was said itself stays."""
    implied, numbers = dialect.implied.get(version, {}), dict(numbers)
    for group in TOGETHER:
        if any(word in numbers for word in group):
            numbers |= {w: implied[w] for w in group if w in implied and w not in numbers}
    cfg = plain.compose()
    repeat = cfg.env.options.get("action_repeat", 1)
    if plain.env and not isinstance(plain.env, str):
        repeat = getattr(plain.env, "action_repeat", 1)
    if (times := whole(repeat, "action_repeat")) < 1:
        raise UsageError(f"action_repeat {times}: it must be at least 1")
    limit = _limit(plain.env, numbers, times if dialect.unit == "agent" else 1)
    return {**limit, **derive(numbers, dialect.unit, dialect.kl[version], cfg, times)}


def _env(settings: DreamerConfig, numbers: Mapping[str, Any]) -> Any:
    """The env: an object, or an id; a backend that was said names the suite."""
    if "env_object" in numbers:
        return numbers["env_object"]
    env = numbers.get("env", "")
    backend = numbers.get("backend")
    if not isinstance(env, str):
        return env
    if not env and not backend:
        return ""
    if not backend:
        return dreamer_envs.canonical(env)
    whole = of_suite(env, str(backend))
    if not whole:
        raise UsageError(f"env {env!r} is not of the backend {backend!r}: leave the backend out.")
    return whole


def _env_options(
    dialect: Dialect,
    env: str,
    numbers: Mapping[str, Any],
    said: Mapping[str, Any],
    suites: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Options of the env: images where the document has them, its own words."""
    suite = env.partition("/")[0]
    found: dict[str, Any] = {}
    pixels = dialect.pixels == "all" or suite in dialect.pixels
    if pixels and "obs" in _have(suite) and f"{OPTIONS}.obs" not in said:
        found[f"{OPTIONS}.obs"] = "pixels"
    backend = str(numbers.get("backend") or suite)
    found |= {f"{OPTIONS}.{name}": value for name, value in suites.get(backend, {}).items()}
    return found


def _limit(env: Any, numbers: Mapping[str, Any], per: int) -> dict[str, Any]:
    """The most steps of an episode; 0 leaves them to the suite.

    Args:
        env: id, if it is one. numbers: of the plan.
        per: steps of the suite, which counts them before an action is repeated, to one that is
            said.
    """
    steps = whole(numbers.get("time_limit", 0), "time_limit")
    if not steps or not env or not isinstance(env, str):
        return {}
    suite = env.partition("/")[0]
    have = {"max_episode_steps": None} if suite == "gym" else _have(suite)
    name = next((each for each in LIMITS if each in have), None)
    if name is None:
        raise UsageError(f"time_limit: episodes of {suite} end where the suite ends them")
    return {f"{OPTIONS}.{name}": steps * per}


def _have(suite: str) -> Mapping[str, Any]:
    """Options of a suite; none where its package is missing, which making the env reports."""
    try:
        return dreamer_envs.options(suite)
    except ImportError:
        return {}
