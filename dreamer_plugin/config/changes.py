"""What differs between the configuration of a run and that with which it is continued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dreamer_plugin.config.schema import Config
from dreamer_plugin.config.secrets import HIDDEN, hidden

# What may change freely: how long, where, how often, on what machine. The number of envs and a
# smaller replay are refused elsewhere, with the reason.
FREE = (
    "device",
    "compile",
    "protocol",
    "run.steps",
    "run.logdir",
    "run.log_every",
    "run.tensorboard",
    "run.csv",
    "run.wandb",
    "run.video_every",
    "run.save_every",
    "run.eval_every",
    "run.eval_episodes",
    "run.keep",
    "run.keep_memory",
    "replay.capacity",
    "replay.storage",
    "replay.folder",
    "checkpoint.latents",
    "env.num_envs",
    "env.processes",
    "env.timeout",
    "env.max_faults",
    "env.min_envs",
)


def changes(saved: Config, now: Config) -> list[str]:
    """One line `key: before -> now` for each setting that may not change freely."""
    before, after = _flat(asdict(saved)), _flat(asdict(now))
    keys = [key for key in {**before, **after} if key not in FREE]
    return [
        f"{key}: {_shown(key, before)} -> {_shown(key, after)}"
        for key in keys
        if before.get(key) != after.get(key) and before.get(key) != HIDDEN
    ]


def changed_keys(configs: Sequence[Config]) -> dict[str, list[Any]]:
    """Settings that are not the same in all configurations: dotted name -> value in each."""
    flat = [_flat(asdict(cfg)) for cfg in configs]
    keys = dict.fromkeys(key for each in flat for key in each)
    values = {key: [each.get(key, "not set") for each in flat] for key in keys}
    return {key: each for key, each in values.items() if any(v != each[0] for v in each)}


def _shown(key: str, settings: Mapping[str, Any]) -> Any:
    return hidden(key, settings[key]) if key in settings else "not set"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
