"""Gymnasium's registered environments, as vectors, as pixels, or both."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, ClassVar

import gymnasium as gym
from gymnasium.envs.registration import get_env_id, parse_env_id
from gymnasium.utils import RecordConstructorArgs

from dreamer_envs import names, values
from dreamer_envs.errors import EnvIdError, EnvOptionError, EnvsError, MissingPackageError
from dreamer_envs.observations import is_image
from dreamer_envs.suites import rendering
from dreamer_envs.transforms import ActionRepeat, RenderObs, Resize, check_declared

OBS = ("vector", "pixels", "both")
# Packages that register ids with Gymnasium and have suites of their own here.
OTHER_SUITES = ("ale_py", "metaworld", "minigrid", "nle")


def make(
    task: str,
    obs: str = "vector",
    size: int = 64,
    gray: bool = False,
    action_repeat: int = 1,
    fast_render: bool = False,
    render_mode: str | None = None,
    **kwargs: Any,
) -> gym.Env[Any, Any]:
    """Builds a registered Gymnasium env.

    Args:
        task: its id, for example `CartPole-v1`; of a module that
            is imported already also `module:Id-v0`.
        obs: `vector` for the env's own observation, `pixels` for what it draws, `both`. An env
            whose own observation is an image shows that image, resized, whichever of the two is
            asked for.
        size: rows and columns of images.
        gray: whether images are gray.
        action_repeat: times each action is applied.
        fast_render: MuJoCo only: drawn at `size` instead of shrunk to it, no shadows, no
            antialiasing. Many times faster in software; the images differ from the usual ones.
        render_mode: passed on; `pixels` and `both` need `rgb_array`, the default then.
        kwargs: passed to `gymnasium.make`.

    Raises:
        EnvOptionError: a bad value.
        MissingPackageError: the env needs a package or library that is not there.
    """
    values.one_of(f"gym/{task}", obs=(obs, OBS))
    drawn = obs != "vector"
    if fast_render and not _is_mujoco(task):
        raise EnvOptionError(f"fast_render is for MuJoCo envs; gym/{task} is none.")
    _prepare_headless()
    if drawn and render_mode not in (None, "rgb_array"):
        raise EnvOptionError(
            f"obs={obs!r} of gym/{task} needs render_mode='rgb_array', not {render_mode!r}."
        )
    if drawn and fast_render:
        kwargs = {"width": size, "height": size, **kwargs}
    env = _make(task, "rgb_array" if drawn else render_mode, kwargs)
    modes = tuple(filter(None, env.unwrapped.metadata.get("render_modes") or ()))
    if modes and env.unwrapped.render_mode is not None:  # Gymnasium only warns
        values.one_of(f"gym/{task}", render_mode=(env.unwrapped.render_mode, modes))
    check_declared(env)
    if is_image(env.observation_space):
        env = Resize(env, size, gray)
    elif drawn:
        env = _draw(env, task, size, gray, obs == "both", fast_render)
    return ActionRepeat(env, action_repeat) if action_repeat != 1 else env


class MujocoView(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Makes what a MuJoCo env draws depend on its own state alone.

    Gymnasium leaves the OpenGL context of whichever env came last in force, so a second env in the
    process would draw into it; and it aims the camera at the state of the first image ever drawn.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        env.reset(seed=0)  # aims the camera at the same state each time
        env.render()
        env.unwrapped._np_random = None

    def render(self) -> Any:
        """The image."""
        self.env.unwrapped.mujoco_renderer.viewer.make_context_current()  # type: ignore[attr-defined]
        return self.env.render()


def tasks() -> list[str]:
    """Registered ids of Gymnasium and of packages already imported, newest version of each."""
    newest: dict[str, int | None] = {}
    for gym_id in gym.registry:
        if _foreign(gym_id):
            continue
        space, name, version = parse_env_id(gym_id)
        key = get_env_id(space, name, None)
        newest[key] = max(newest.get(key) or 0, version) if version is not None else newest.get(key)
    return sorted(
        key if version is None else f"{key}-v{version}" for key, version in newest.items()
    )


def match(text: str) -> str | None:
    """Registered id that a text spells: exactly, in another case, or without its version."""
    module, colon, _ = text.partition(":")
    if colon:
        return _from_module(module, text)
    if text in gym.registry and not _foreign(text):
        return text
    wanted = names.fold(text)
    for gym_id in tasks():
        space, name, _ = parse_env_id(gym_id)
        if wanted in (names.fold(gym_id), names.fold(get_env_id(space, name, None))):
            return gym_id
    return None


def _foreign(gym_id: str) -> bool:
    """Whether an id belongs to another suite of ours, or only raises an error that says so."""
    entry: Any = gym.registry[gym_id].entry_point
    if isinstance(entry, str):
        module, _, name = entry.partition(":")
    else:
        module, name = (getattr(entry, part, "") for part in ("__module__", "__name__"))
    package = module.partition(".")[0]
    raises = package == "gymnasium" and name.startswith("_raise_")
    return module == "dreamer_envs.registry" or package in OTHER_SUITES or raises


def _from_module(module: str, text: str) -> str:
    """The id, where its module is imported already: a name, which may be a file's, imports none."""
    if module not in sys.modules:
        raise EnvIdError(
            f"Env id {text!r} would import {module!r}, which runs its code: allow it with "
            f"--allow-env-import {module}, or in Python with `import {module}` before."
        )
    if text.partition(":")[2] not in gym.registry:
        raise EnvIdError(f"Env id {text!r}: {module!r} is imported but registers no such id.")
    return text


def _prepare_headless() -> None:
    """Lets pygame draw without a screen where there is none; a user's own choice stays."""
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


def _make(task: str, render_mode: str | None, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    if _is_mujoco(task):
        rendering.select_backend(needed=render_mode == "rgb_array", who=f"gym/{task}")
    mode: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    try:
        return gym.make(task, disable_env_checker=True, **mode, **kwargs)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        remedy = f": pip install 'dreamer-plugin[{extra}]'" if (extra := _extra(task)) else ""
        raise MissingPackageError(f"gym/{task} needs a package{remedy} ({error}).") from error
    except (TypeError, KeyError, ValueError, gym.error.Error) as error:
        asked = kwargs or "unexpected keyword argument" in str(error)
        if isinstance(error, EnvsError) or not asked:  # an error of the env itself
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in {**mode, **kwargs}.items())
        raise EnvOptionError(
            f"gym/{task} cannot be made with {given} ({type(error).__name__}: {error})."
        ) from error


def _entry_point(task: str) -> str:
    module, colon, gym_id = task.partition(":")
    if colon:  # a worker process has not looked the id up, and so has not imported the module
        importlib.import_module(module)
    return str(gym.registry[gym_id or task].entry_point)


def _is_mujoco(task: str) -> bool:
    return _entry_point(task).startswith("gymnasium.envs.mujoco")


def _extra(task: str) -> str:
    """Our extra that brings what the env needs; `""` if none does."""
    entry = _entry_point(task)
    return next((name for name in ("mujoco", "box2d") if name in entry), "")


def _draw(
    env: gym.Env[Any, Any], task: str, size: int, gray: bool, keep: bool, fast: bool
) -> gym.Env[Any, Any]:
    if fast:
        rendering.cheapen(env.unwrapped.model)  # type: ignore[attr-defined]
    if _is_mujoco(task):
        env = MujocoView(env)
    return RenderObs(env, size, gray, keep)
