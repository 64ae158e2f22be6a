"""Every key of the configuration by its dotted name: its type, its checks, the nearest one."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, get_type_hints

from dreamer_plugin.config.schema import Config, EnvConfig, LossScales
from dreamer_plugin.config.yamlfile import kind
from dreamer_plugin.errors import UsageError, nearest

OPTIONS = "env.options"  # the one open section: what `dreamer_envs.make` takes
CHOICES = {
    "precision": ("auto", "bfloat16", "float32"),
    "compile": ("auto", "off", "on", "graph"),
    "protocol": ("auto", "published", "reduced"),
    "replay.sampling": ("windows", "episodes", "inner_episodes"),
    "replay.storage": ("memory", "disk"),
    "replay.latent_dtype": ("float32", "float16", "bfloat16"),
    "run.wandb": ("off", "offline", "online"),
    "optim.schedule": ("constant", "linear", "cosine"),
    "world.encoder.downsample": ("pool", "stride", "valid"),
    "world.decoder.upsample": ("nearest", "transposed", "valid"),
    "world.latent.gradient": ("straight_through", "gumbel"),
    "world.latent.std": ("softplus", "sigmoid2"),
}
NORMS = ("return_norm", "value_norm", "advantage_norm")
# Sections and keys, so that one line covers what belongs together.
Bounds = Mapping[int, Mapping[str, Iterable[str]]]  # bound -> section -> keys
LEAST: Bounds = {
    1: {
        "env": ("num_envs", "min_envs", "timeout"),
        "run": ("steps", "burst", "eval_episodes", "log_every", "save_every", "keep"),
        "replay": ("capacity", "batch_size", "batch_length"),
        "model": ("deter", "hidden", "groups", "classes", "blocks", "depth", "units"),
        "world.encoder": ("mults", "kernel"),
        "world.decoder": ("mults", "kernel", "image_blocks"),
        "behavior": ("imag_horizon",),
        "world.reward": ("bins",),
        "behavior.critic": ("bins", "slow_every"),
    },
    0: {
        "": ("seed",),
        "env": ("max_faults",),
        "run": ("train_ratio", "pretrain", "prefill", "eval_every", "video_every"),
        "replay": ("context",),
        "optim": (
            *("lr", "lr_end", "warmup", "anneal", "beta1", "beta2"),
            *("clip", "agc", "agc_min", "weight_decay", "model_turns", "behavior_turns"),
        ),
        "world": ("reward_clip", "recompute", "free_nats", "prior_layers", "posterior_layers"),
        "world.encoder": ("layers", "units", "vae_dim", "vae_std", "shift"),
        "world.decoder": ("layers", "units"),
        "world.latent": ("unimix", "min_std"),
        "world.core": ("layers",),
        "world.reward": ("layers",),
        "world.cont": ("layers",),
        "behavior": ("imag_last", "imag_skip", "return_lambda"),
        "behavior.actor": ("layers", "unimix", "mix", "min_std"),
        "behavior.critic": ("layers", "slow_rate"),
        "behavior.explore": ("amount", "decay", "min"),
        **{f"behavior.{name}": ("rate", "low", "high") for name in NORMS},
        "optim.actor": ("lr", "clip"),
        "optim.critic": ("lr", "clip"),
        "loss_scales": tuple(item.name for item in fields(LossScales)),
    },
}
MOST: Bounds = {
    2**40: {"run": ("steps",), "replay": ("capacity",)},  # records that replay tells apart
    2**32 - 1: {"": ("seed",)},  # of NumPy's older generators, which many envs have
    100: {f"behavior.{name}": ("low", "high") for name in NORMS},
    1: {
        "world.latent": ("unimix",),
        "behavior": ("return_lambda",),
        "behavior.actor": ("unimix", "mix"),
        "behavior.critic": ("slow_rate",),
        **{f"behavior.{name}": ("rate",) for name in NORMS},
    },
}
ABOVE: Bounds = {  # what is divided by, and a spread
    0: {
        "nets": ("eps",),
        **{section: ("eps",) for section in ("optim", "optim.actor", "optim.critic")},
        "behavior.actor": ("max_std",),
    },
}
BELOW: Bounds = {1: {"optim": ("beta1", "beta2")}}  # a mean that never moves
BOUNDS = (
    ("at least", operator.ge, LEAST),
    ("at most", operator.le, MOST),
    ("above", operator.gt, ABOVE),
    ("below", operator.lt, BELOW),
)
# What other libraries call it, where no likeness would tell (docs/migrate.md).
SYNONYMS = {
    "learning_rate": "optim.lr",
    "total_timesteps": "run.steps",
    "total_steps": "run.steps",
    "learning_starts": "run.prefill",
    "train_freq": "run.train_ratio",
    "gradient_steps": "run.train_ratio",
    "buffer_size": "replay.capacity",
    "dataset_size": "replay.capacity",
    "gamma": "behavior.horizon",
    "discount": "behavior.horizon",
    "gae_lambda": "behavior.return_lambda",
    "ent_coef": "behavior.actor.entropy",
    "tau": "behavior.critic.slow_rate",
}
LIKE_ENOUGH = 0.55  # below it, a suggestion misleads
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?")


@lru_cache(maxsize=1)
def key_types() -> Mapping[str, Any]:
    """Type of every key by its dotted name, in the order of the schema."""
    return dict(_walk(Config, ""))


@lru_cache(maxsize=1)
def section_names() -> frozenset[str]:
    """Dotted names that hold keys and are none themselves, such as `world.encoder`."""
    parents = (name.split(".")[:-1] for name in key_types())
    return frozenset(".".join(p[:i]) for p in parents for i in range(1, len(p) + 1))


def flatten(
    tree: Mapping[str, Any], source: str, known_options: Iterable[str] = ()
) -> dict[str, Any]:
    """Check a nested (or partly dotted) mapping against the schema.

    Args:
        tree: what a file or a person set.
        source: where it stands, for messages.
        known_options: names of env options, which may be written without `options.`.

    Returns:
        Dotted name -> value of the right type; an env option is `env.options.<name>`.

    Raises:
        UsageError: at the first unknown key or wrong type, with the nearest valid key.
    """
    flat: dict[str, Any] = {}
    _flatten_into(flat, "", tree, source, known_options)
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested form of dotted names."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = split_name(name)
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return tree


def split_name(name: str) -> list[str]:
    """Parts of a dotted name; the name of an env option stays whole, dots included."""
    if name.startswith(f"{OPTIONS}."):
        return [*OPTIONS.split("."), name[len(OPTIONS) + 1 :]]
    return name.split(".")


def nearest_key(name: str, extra: Iterable[str] = ()) -> str | None:
    """The valid dotted name that a wrong one most likely meant.

    Args:
        name: as typed, for example `lr` or `optim.learning_rate`.
        extra: further valid names.
    """
    parent, _, last = name.rpartition(".")
    if last in SYNONYMS:
        return SYNONYMS[last]

    def score(key: str) -> tuple[float, float]:
        its_parent, _, its_last = key.rpartition(".")
        whole = _likeness(name, key)
        sibling = 0.1 if parent == its_parent else 0.0
        return max(whole, _likeness(last, its_last)) + sibling, whole

    best = max([*key_types(), *section_names(), *extra], key=score)
    return best if score(best)[0] >= LIKE_ENOUGH else None


def unknown_key(name: str, source: str, extra: Iterable[str] = ()) -> UsageError:
    """The error for a key that does not exist."""
    found = nearest_key(name, extra)
    hint = f" Did you mean {found!r}?" if found else " `dreamer-plugin show` lists all keys."
    return UsageError(f"Unknown key {name!r} ({source}).{hint}")


def check_values(flat: Mapping[str, Any], source_of: Mapping[str, str]) -> None:
    """Refuse values that no run can use.

    Args:
        flat: dotted name -> value.
        source_of: dotted name -> where the value was set, for messages.

    Raises:
        UsageError: naming the key, the value and what is allowed.
    """
    for key, choices in CHOICES.items():
        if key in flat and flat[key] not in choices:
            message = nearest(str(flat[key]), choices, f"value of {key}")
            raise UsageError(f"{message} (set by {source_of[key]})")
    for words, holds, bounds in BOUNDS:
        for key, bound in _by_key(bounds).items():
            value = flat.get(key, bound)
            several = isinstance(value, list)
            numbers = value if several else [value]
            if key in flat and not (numbers and all(holds(each, bound) for each in numbers)):
                must = f"must be {'one or more numbers of ' * several}{words} {bound}"
                raise UsageError(f"{key} is {value}, but {must} (set by {source_of[key]}).")
    device = str(flat.get("device", "auto"))
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        hint = nearest(device, ("auto", "cpu", "cuda", "cuda:0", "mps"), "device")
        raise UsageError(f"{hint} (set by {source_of['device']})")


def _by_key(bounds: Bounds) -> dict[str, int]:
    """Dotted name -> bound."""
    return {
        f"{section}.{key}".lstrip("."): bound
        for bound, sections in bounds.items()
        for section, keys in sections.items()
        for key in keys
    }


def _walk(cls: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    hints = get_type_hints(cls)
    for item in fields(cls):
        if is_dataclass(hints[item.name]):
            yield from _walk(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, hints[item.name]


def _flatten_into(
    flat: dict[str, Any],
    prefix: str,
    tree: Mapping[str, Any],
    source: str,
    known_options: Iterable[str],
) -> None:
    def put(name: str, value: Any) -> None:
        if name in flat:
            raise UsageError(f"{source} sets {name} twice, nested and with dots.")
        flat[name] = value

    for key, value in tree.items():
        name = prefix + key
        _refuse_unreadable(name, value, source)
        if name == OPTIONS or name in section_names():
            if not isinstance(value, Mapping):
                raise _not_a_section(name, value, source)
            _flatten_into(flat, f"{name}.", value, source, known_options)
        elif name.startswith(f"{OPTIONS}."):
            put(name, value)
        elif name in key_types():
            put(name, _typed(name, value, source))
        elif name.startswith("env.") and name.count(".") == 1:
            put(_option(name, source, known_options), value)
        else:
            raise unknown_key(name, source)


def _refuse_unreadable(name: str, value: Any, source: str) -> None:
    """A value means itself, wherever it comes from: a saved one must be read again as it was."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _refuse_unreadable(name, item, source)
    elif isinstance(value, Mapping):
        for item in value.values():
            _refuse_unreadable(name, item, source)
    elif isinstance(value, str) and "${" in value:
        raise UsageError(f"{name} has '${{' in {value!r} ({source}); write the value itself.")
    elif isinstance(value, float) and math.isnan(value):
        raise UsageError(f"{name} has {value} ({source}), which is not a number.")


def _option(name: str, source: str, known: Iterable[str]) -> str:
    """`env.sticky` -> `env.options.sticky`, unless it looks like a misspelling of a key or option.

    An unlike name passes: some suites take options that only their envs know, and `make` checks.
    """
    option = name.removeprefix("env.")
    names = set(known)
    own = {item.name for item in fields(EnvConfig)}
    if option not in names and difflib.get_close_matches(option, own | names, n=1, cutoff=0.7):
        raise unknown_key(name, source, [f"env.{other}" for other in names])
    return f"{OPTIONS}.{option}"


def _not_a_section(name: str, value: Any, source: str) -> UsageError:
    inside = next((key for key in key_types() if key.startswith(f"{name}.")), f"{name}.<option>")
    return UsageError(
        f"{name} is a section, not a value (got {value!r}, {source}); "
        f"set its keys, for example {inside}."
    )


def _typed(name: str, value: Any, source: str) -> Any:
    """The value in its key's type; spellings such as `1e6` for a whole number are understood."""
    wanted = key_types()[name]
    if isinstance(value, bool) and "off" in CHOICES.get(name, ()):
        return "on" if value else "off"  # what YAML makes of these words
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is str and not isinstance(value, (bool, list, dict)):
        return "" if value is None else str(value)
    if wanted in (int, float):
        number = _number(value)
        if number is not None and (wanted is float or number == int(number)):
            return int(number) if wanted is int else float(number)
    if wanted == list[int] and isinstance(value, (list, tuple)):
        numbers = [_number(item) for item in value]
        if all(number is not None and number == int(number) for number in numbers):
            return [int(number) for number in numbers if number is not None]
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    expected = words.get(wanted, "a list of whole numbers")
    raise UsageError(f"{name} expects {expected}, got {value!r}, {kind(value)} ({source}).")


def _number(value: Any) -> int | float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        # YAML 1.1 reads 1e6 as text, because it has no point.
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, Integral) else float(value)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
