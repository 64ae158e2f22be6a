"""DeepMind Control Suite: proprioception, pixels or both, with honest ends of episodes."""

from __future__ import annotations

import ctypes
import importlib.metadata
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.errors import EnvError, EnvOptionError, MissingPackageError
from dreamer_envs.images import Image, at_rate
from dreamer_envs.seeds import WIDE_SEED_LIMIT, simulator_seed
from dreamer_envs.suites import rendering

OBS = ("proprio", "pixels", "both")
CAMERAS = {"quadruped": 2}  # the others are seen well by camera 0
IMPORT_ERRORS = (ImportError, AttributeError, RuntimeError, OSError, ctypes.ArgumentError)
_UNLIMITED = 1e10  # how dm_control writes that MuJoCo does not limit an action: mjMAXVAL


class ControlSuite(gym.Env[dict[str, Any], Any]):
    """One task. Its limit of 1000 control steps truncates; it terminates only where discount is 0.

    Observations keep the names that the task gives them; scalars have shape `()`.

    Args:
        task: `<domain>-<task>`, for example `walker-walk`.
        obs: `proprio` for positions and velocities, `pixels` for an image, `both`.
        size: rows and columns of the image.
        camera: number of the camera; the published choice by default, 0 but for quadruped 2.
        action_repeat: control steps per step.
        fast_render: no shadows, antialiasing or reflections. About ten times faster without a GPU;
            the images differ from the published ones.
        render_mode: `rgb_array` or `None`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    can_save = True
    _sim: Any = None
    _seed: int

    def __init__(
        self,
        task: str,
        obs: str = "proprio",
        size: int = 64,
        camera: int | None = None,
        action_repeat: int = 1,
        fast_render: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self._who = who = f"dmc/{task}"
        values.one_of(who, obs=(obs, OBS))
        values.at_least(who, action_repeat=(action_repeat, 1))
        values.drawing(who, render_mode)
        self.action_repeat = action_repeat
        self.render_mode = render_mode
        self._domain, _, self._task = task.partition("-")
        self._obs, self._size, self._fast = obs, size, fast_render
        self._camera = CAMERAS.get(self._domain, 0) if camera is None else camera
        draws = obs != "proprio" or render_mode is not None
        self._suite = _import_suite(draws, who)
        self._build(0)
        self._check_picture()
        seconds = self._sim.control_timestep() * action_repeat
        self.metadata = at_rate(self.metadata, 1 / seconds)
        bounds = self._sim.action_spec()
        self._before_reset = self._random_state()
        self.observation_space = self._observation_space()
        low, high = (np.broadcast_to(b, bounds.shape) for b in (bounds.minimum, bounds.maximum))
        unlimited = np.maximum(-low, high) >= _UNLIMITED
        low, high = np.where(unlimited, -np.inf, low), np.where(unlimited, np.inf, high)
        self.action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; a seed builds the task anew, as some draw their model from it."""
        super().reset(seed=seed)
        seed = simulator_seed(self, seed)
        if seed is not None:
            self._build(seed % WIDE_SEED_LIMIT)
        self._before_reset = self._random_state()
        return self._observe(self._sim.reset()), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Applies an action for `action_repeat` control steps, fewer if the episode ends."""
        reward = 0.0
        for _ in range(self.action_repeat):
            now = self._sim.step(np.asarray(action, np.float64))
            reward += float(now.reward or 0.0)
            if now.last():
                break
        ended = bool(now.last())
        terminated = ended and now.discount == 0
        return self._observe(now), reward, terminated, ended and not terminated, {}

    def render(self) -> Image:
        """The image of the camera, uint8 `[size, size, 3]`.

        Raises:
            EnvError: the env is closed.
        """
        if self._sim is None:
            raise EnvError(f"{self._who} is closed: make it anew.")
        flags = {"reflection": False} if self._fast else None
        image = self._sim.physics.render(
            self._size, self._size, camera_id=self._camera, render_flag_overrides=flags
        )
        return np.ascontiguousarray(image)

    def close(self) -> None:
        """Frees the renderer, which otherwise complains when the program ends."""
        if self._sim is not None:
            self._sim.physics.free()
            self._sim = None

    def get_state(self) -> dict[str, Any]:
        """Random state at the last reset and now, simulation state, and clock."""
        signature = _full_signature()
        return {
            "seed": self._seed,
            "before_reset": self._before_reset,
            "random": self._random_state(),
            "physics": self._sim.physics.get_state(signature),
            "sensors": np.array(self._sim.physics.data.sensordata),
            "steps": int(self._sim._step_count),
            "over": bool(self._sim._reset_next_step),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Repeats the reset, since tasks then change their model (targets, sizes), and goes on."""
        import mujoco

        self._build(saved["seed"])
        self._set_random_state(saved["before_reset"])
        self._before_reset = saved["before_reset"]
        self._sim.reset()
        physics = self._sim.physics
        physics.set_state(saved["physics"], _full_signature())
        mujoco.mj_step1(physics.model.ptr, physics.data.ptr)  # where a control step leaves off
        physics.data.sensordata[:] = saved["sensors"]
        self._set_random_state(saved["random"])
        self._sim._step_count, self._sim._reset_next_step = saved["steps"], saved["over"]

    def _build(self, seed: int) -> None:
        self.close()
        self._seed = seed
        self._sim = self._suite.load(self._domain, self._task, task_kwargs={"random": seed})
        if self._fast:
            rendering.cheapen(self._sim.physics.model)

    def _check_picture(self) -> None:
        """Raises `EnvOptionError` where the model has no such camera or no room for the image."""
        model, who = self._sim.physics.model, self._who
        if not (isinstance(self._camera, int) and -1 <= self._camera < model.ncam):
            raise EnvOptionError(
                f"camera is {self._camera!r} for {who}; it has {model.ncam}, counted from 0, and "
                "the free one, -1."
            )
        room = min(model.vis.global_.offheight, model.vis.global_.offwidth)
        if self._size > room:
            raise EnvOptionError(f"size is {self._size} for {who}; it draws at most {room}.")

    def _observation_space(self) -> spaces.Dict:
        parts: dict[str, spaces.Space[Any]] = {}
        if self._obs != "pixels":
            for name, spec in self._sim.observation_spec().items():
                parts[name] = spaces.Box(-np.inf, np.inf, spec.shape, np.float32)
        if self._obs != "proprio":
            parts["image"] = spaces.Box(0, 255, (self._size, self._size, 3), np.uint8)
        return spaces.Dict(parts)

    def _observe(self, now: Any) -> dict[str, Any]:
        obs: dict[str, Any] = {}
        if self._obs != "pixels":
            obs = {k: np.asarray(v, np.float32) for k, v in now.observation.items()}
        if self._obs != "proprio":
            obs["image"] = self.render()
        return obs

    def _random_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._sim.task.random.get_state(legacy=False)
        return {**state, "state": {k: np.array(v) for k, v in state["state"].items()}}

    def _set_random_state(self, saved: dict[str, Any]) -> None:
        plain = {**saved["state"], "pos": int(saved["state"]["pos"])}
        self._sim.task.random.set_state({**saved, "state": plain})


def _full_signature() -> int:
    import mujoco

    return int(mujoco.mjtState.mjSTATE_INTEGRATION)


def _import_suite(draws: bool, who: str) -> Any:
    """`dm_control.suite`, with a renderer chosen before MuJoCo looks for one."""
    check_mujoco(who)
    rendering.select_backend(needed=draws, who=who)
    try:
        from dm_control import suite
    except IMPORT_ERRORS as error:
        raise MissingPackageError(
            f"{who}: dm_control does not import ({type(error).__name__}: {error}). If it wants a "
            f"graphics library, {rendering.REMEDY}; without images, set MUJOCO_GL=disabled."
        ) from error
    return suite


def check_mujoco(who: str) -> None:
    """dm_control loads no task with MuJoCo 4, and the two share folders, so it must be removed."""
    version = importlib.metadata.version("mujoco")
    if int(version.partition(".")[0]) >= 4:
        raise MissingPackageError(
            f"{who} needs mujoco below 4, found {version}: pip uninstall -y mujoco mujoco-core "
            "mujoco-studio && pip install 'dreamer-plugin[dmc]'."
        )
