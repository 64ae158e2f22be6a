"""Memory Maze: find coloured objects in a maze, again and again; who remembers is faster."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np

from dreamer_envs.errors import MissingPackageError
from dreamer_envs.images import Image
from dreamer_envs.suites import rendering
from dreamer_envs.suites.dm_form import DmEnv

IMPORT_ERRORS = (ImportError, AttributeError, RuntimeError, OSError)


def make(
    task: str, size: int = 64, extra: bool = False, render_mode: str | None = None
) -> gym.Env[Any, Any]:
    """Builds a maze. Six actions; the colour of the border is that of the object to find.

    Args:
        task: `9x9`, `11x11`, `13x13` or `15x15`.
        size: rows and columns of the image.
        extra: whether positions and the map are shown too, for probing what an agent remembers.
        render_mode: `rgb_array` or `None`.
    """
    rendering.select_backend(needed=True, who=f"memorymaze/{task}")
    mazes = _import_mazes(f"memorymaze/{task}")
    build = functools.partial(_build, getattr(mazes, f"memory_maze_{task}"), size=size, extra=extra)
    return DmEnv(build, _picture, render_mode)


def _build(maze: Any, seed: int, size: int, extra: bool) -> Any:
    return maze(
        seed=seed, camera_resolution=size, image_only_obs=not extra, global_observables=extra
    )


def _picture(sim: Any) -> Image:
    return np.asarray(sim.physics.render(256, 256, camera_id=0))


def _import_mazes(who: str) -> Any:
    try:
        from memory_maze import tasks
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{who}: memory_maze needs the module {error.name!r}: "
            "pip install 'dreamer-plugin[memorymaze]'."
        ) from error
    except IMPORT_ERRORS as error:
        raise MissingPackageError(
            f"{who}: memory_maze does not import ({type(error).__name__}: {error}); "
            f"{rendering.REMEDY}."
        ) from error
    return tasks
