"""The Dreamer family of world-model agents: `Dreamer`, `make_env`, `register`, `evaluate`.

`register()` makes `trainer=dreamer` known to Hydra; `DreamerTrainer` is TorchRL's `Trainer` around
a run. Suites of environments are registered with `dreamer_envs.register`.

Nothing heavy is loaded before a name is used (PEP 562), so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamer_envs import make as make_env
    from dreamer_plugin.doors.api import Dreamer
    from dreamer_plugin.doors.hydra import register
    from dreamer_plugin.run.evaluate import evaluate_run as evaluate
    from dreamer_plugin.run.loop import train
    from dreamer_plugin.run.trainer import DreamerTrainer

__all__ = ["Dreamer", "DreamerTrainer", "evaluate", "make_env", "register", "train"]

_PLACES = {
    "Dreamer": ("dreamer_plugin.doors.api", "Dreamer"),
    "DreamerTrainer": ("dreamer_plugin.run.trainer", "DreamerTrainer"),
    "evaluate": ("dreamer_plugin.run.evaluate", "evaluate_run"),
    "make_env": ("dreamer_envs", "make"),
    "register": ("dreamer_plugin.doors.hydra", "register"),
    "train": ("dreamer_plugin.run.loop", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
