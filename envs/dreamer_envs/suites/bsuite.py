"""Behaviour Suite: small experiments, each with a series of settings (`catch/0` to `catch/19`)."""

from __future__ import annotations

import contextlib
import inspect
import io
from typing import Any

import gymnasium as gym

from dreamer_envs.errors import EnvOptionError, MissingPackageError
from dreamer_envs.names import fold
from dreamer_envs.suites.dm_form import DmEnv
from dreamer_envs.suites.task_names import BSUITE


def make(task: str) -> gym.Env[Any, Any]:
    """Builds an experiment.

    Args:
        task: its name, for example `catch`, or name and number of the setting, `catch/7`; without
            a number it is 0. A seeded reset replaces the seed of the setting.

    Raises:
        MissingPackageError: the experiment's data cannot be downloaded (the digits of `mnist`).
    """
    name, _, number = task.partition("/")
    from bsuite import bsuite, sweep

    settings = dict(sweep.SETTINGS[f"{name}/{number or 0}"])
    loader = bsuite.EXPERIMENT_NAME_TO_ENVIRONMENT[name]
    seeded = "seed" in inspect.signature(loader).parameters
    given = settings.get("seed")

    def build(seed: int) -> Any:
        # Until the first seeded reset the env is the one that bsuite's results are reported on.
        chosen = {"seed": seed if seed or given is None else given} if seeded else {}
        with contextlib.redirect_stdout(io.StringIO()):  # it says what it loads
            return loader(**{**settings, **chosen})

    try:
        return DmEnv(build, seed=given)
    except OSError as error:
        raise MissingPackageError(
            f"bsuite/{task} downloads its data when it is first made, which failed: {error}."
        ) from error


def match(text: str) -> str | None:
    """`catch`, `catch/7` or `catch-7`, if there is such an experiment."""
    name, _, number = text.replace("-", "/").partition("/")
    known = {fold(each): each for each in BSUITE}.get(fold(name))
    if known is None or not number:
        return known
    if not number.isdigit():
        return None
    if int(number) >= BSUITE[known]:
        raise EnvOptionError(
            f"bsuite/{known} has the settings 0 to {BSUITE[known] - 1}, not {number}."
        )
    return f"{known}/{int(number)}"


def tasks() -> list[str]:
    """Names of the experiments."""
    return list(BSUITE)
