"""What people pass as `env`, turned into makers, a config and the spaces they see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import torch

import dreamer_envs
from dreamer_envs.transforms import check_declared
from dreamer_plugin.config import Config, compose
from dreamer_plugin.config.stack import config_path
from dreamer_plugin.config.yamlfile import read_yaml
from dreamer_plugin.doors.cli_config import resolve as resolve_id
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.envs import EnvSource, source_of
from dreamer_plugin.run.native import NativeForm

AnyEnv = gym.Env[Any, Any]
EnvLike = str | AnyEnv | Callable[[], AnyEnv]
SIZE = "1m"  # of an agent of V3 for which nothing says another


@dataclass(frozen=True)
class UserEnv:
    """A maker of a user's env in the common form.

    Args:
        make: gives the user's env. id: its name in messages.
    """

    make: Callable[[], AnyEnv]
    id: str

    def __call__(self) -> AnyEnv:
        """The env, wrapped."""
        return dreamer_envs.wrap(self.make())


@dataclass(frozen=True)
class SameEnv:
    """Hands out one and the same env object."""

    env: AnyEnv

    def __call__(self) -> AnyEnv:
        """The object, which stays open: it is the user's to close."""
        return LeftOpen(self.env)


class LeftOpen(gym.Wrapper[Any, Any, Any, Any]):
    """Ignores `close`."""

    state_attributes: ClassVar[tuple[str, ...]] = ()

    def close(self) -> None:
        """Nothing."""


def resolve(
    env: EnvLike | Sequence[EnvLike], config: str | Path, options: Mapping[str, Any]
) -> tuple[Config, EnvSource, NativeForm]:
    """Config, envs and spaces of a new agent.

    Args:
        env: as `Dreamer` takes it; a class or function is one env unless `options` says how many.
        config: preset or file. options: dotted key -> value.
    """
    name, settle = (env, resolve_id) if isinstance(env, str) else ("", compose)
    if not isinstance(env, str):
        count = _count(env)
        said = options.get("env.num_envs", 1)
        if count and "env.num_envs" in options and said != count["env.num_envs"]:
            raise UsageError(
                f"env.num_envs is {said}, but {count['env.num_envs']} envs were passed: leave it "
                "out, or pass one class or function, of which as many are made."
            )
        options = {"env.num_envs": 1, "env.processes": False, **options, **count}
    if "size" not in options and not _says_widths(config):
        if compose(name, config=[config], options=options).config.size:  # not so of V1 and V2
            options = {**options, "size": SIZE}
    cfg = settle(name, config=[config], options=options).config
    return (cfg, *makers_of(cfg, env))


def _count(env: EnvLike | Sequence[EnvLike]) -> dict[str, int]:
    """How many envs there are, where what was passed says so."""
    if isinstance(env, Sequence) and not isinstance(env, str):
        return {"env.num_envs": len(_entries(env, 0))}
    return {"env.num_envs": 1} if isinstance(env, gym.Env) else {}


def _says_widths(config: str | Path) -> bool:
    """Whether it is a file with a size, or with widths of its own."""
    file = config_path(config)
    return file is not None and not {"size", "model"}.isdisjoint(read_yaml(file))


def on_env(cfg: Config, env: EnvLike | Sequence[EnvLike] | None) -> Config:
    """The config with other envs; where `env` is an id, its options are those of its suite."""
    if env is None:
        return cfg
    if not isinstance(env, str):
        count = _count(env).get("env.num_envs", cfg.env.num_envs)
        return replace(cfg, env=replace(cfg.env, num_envs=count, processes=False))
    if (env := dreamer_envs.canonical(env)) == cfg.env.id:
        return cfg
    same_suite = env.partition("/")[0] == cfg.env.id.partition("/")[0]
    options = cfg.env.options if same_suite else {}
    return replace(cfg, env=replace(cfg.env, id=env, options=options))


def makers_of(cfg: Config, env: EnvLike | Sequence[EnvLike]) -> tuple[EnvSource, NativeForm]:
    """Makers and spaces of what was passed as `env`.

    Raises:
        UsageError: when it is nothing that makes an env.
    """
    if isinstance(env, str):
        return source_of(cfg), _native_of(dreamer_envs.maker(cfg.env.id, **cfg.env.options))
    entries = _entries(env, cfg.env.num_envs)
    objects = [entry for entry in entries if isinstance(entry, gym.Env)]
    if len({id(entry) for entry in objects}) < len(objects):
        raise UsageError("The same env object cannot be two envs; pass a class or a function.")
    source = source_of(cfg, [_maker(entry) for entry in entries])
    first = entries[0]
    native = _native_of(first) if isinstance(first, gym.Env) else _native_of(_plain_maker(first))
    return replace(source, fresh=not objects), native


def flatten(overrides: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts and `a__b` names as dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in overrides.items():
        key = f"{prefix}{name.replace('__', '.')}"
        found = flatten(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
        if twice := sorted(set(flat) & set(found)):
            raise UsageError(f"{twice[0]} is set twice, nested and with a name of its own.")
        flat |= found
    return flat


def _entries(env: EnvLike | Sequence[EnvLike], count: int) -> list[EnvLike]:
    """One entry per env."""
    if not isinstance(env, Sequence):
        return [env] * count
    if not env:
        raise UsageError("The list of envs is empty.")
    return list(env)


def _maker(entry: Any) -> Callable[[], AnyEnv]:
    if isinstance(entry, gym.Env):
        return UserEnv(SameEnv(entry), type(entry.unwrapped).__name__)
    make = _plain_maker(entry)
    return make if isinstance(entry, str) else UserEnv(make, getattr(entry, "__name__", "env"))


def _plain_maker(entry: Any) -> Callable[[], AnyEnv]:
    """Gives the env as its user sees it."""
    if isinstance(entry, str):
        return dreamer_envs.maker(entry)
    if isinstance(entry, torch.nn.Module):
        raise UsageError(
            f"env is {type(entry).__name__}, an env of TorchRL: pass an id or a Gymnasium env, or "
            "train on it with dreamer_plugin.interop.vector.TorchRLVector."
        )
    if callable(entry):
        return entry
    raise UsageError(
        f"env is {entry!r}: pass an id, a Gymnasium env, a class, a function or a list."
    )


def _native_of(env: AnyEnv | Callable[[], AnyEnv]) -> NativeForm:
    """The spaces of an env as its user sees them; one that has to be made is closed again."""
    if isinstance(env, gym.Env):
        check_declared(env)
        return NativeForm(env.observation_space, env.action_space)
    made = env()
    if not isinstance(made, gym.Env):
        name = getattr(env, "__name__", repr(env))
        raise UsageError(
            f"env is {name}, which makes {made!r}: pass an id, a Gymnasium env, a class or "
            "function that makes one, or a list."
        )
    try:
        check_declared(made)
        return NativeForm(made.observation_space, made.action_space)
    finally:
        made.close()
