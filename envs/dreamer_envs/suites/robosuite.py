"""robosuite: arms that lift, stack, open and wipe. Nothing ends an episode but its length."""

from __future__ import annotations

import importlib.metadata
import logging
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.errors import MissingPackageError
from dreamer_envs.seeds import SEED_LIMIT, simulator_seed
from dreamer_envs.suites import rendering

OBS = ("proprio", "pixels", "both")
MUJOCO = "3.3.0"  # later ones fail robosuite's own assertions


class Robosuite(gym.Env[Any, Any]):
    """One task of robosuite.

    Args:
        task: for example `Lift`.
        obs: `proprio` for `robot` (joints, hand) and `objects`, `pixels` for an image, `both`.
        size: rows and columns of the image.
        robot: name of the arm; tasks called `TwoArm...` get two of them.
        camera: that takes the image.
        shaped: whether the reward leads to the goal, or is paid there only.
        length: steps after which an episode is truncated.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value.
        MissingPackageError: another version of MuJoCo.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        task: str,
        obs: str = "proprio",
        size: int = 64,
        robot: str = "Panda",
        camera: str = "agentview",
        shaped: bool = True,
        length: int = 500,
        render_mode: str | None = None,
    ) -> None:
        who = f"robosuite/{task}"
        values.one_of(who, obs=(obs, OBS))
        values.drawing(who, render_mode)
        _check_mujoco(who)
        self.render_mode = render_mode
        self._obs, self._size, self._camera = obs, size, camera
        draws = obs != "proprio" or render_mode is not None
        rendering.select_backend(needed=draws, who=f"robosuite/{task}")
        self._settings = {
            "env_name": task,
            "robots": [robot] * (2 if task.startswith("TwoArm") else 1),
            "has_renderer": False,
            "has_offscreen_renderer": draws,
            "use_camera_obs": False,
            "reward_shaping": shaped,
            "horizon": length,
        }
        self._sim = self._build(0)
        self._groups = _groups(self._sim.reset())
        self.observation_space = self._space()
        low, high = self._sim.action_spec
        self.action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; a seed builds the task anew."""
        super().reset(seed=seed)
        seed = simulator_seed(self, seed)
        if seed is not None:
            self._sim.close()
            self._sim = self._build(seed % SEED_LIMIT)
        return self._observe(self._sim.reset()), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; `info["success"]` tells whether the task is done, which ends nothing."""
        seen, reward, done, _ = self._sim.step(np.asarray(action, np.float64))
        info = {"success": bool(self._sim._check_success())}
        return self._observe(seen), float(reward), False, bool(done), info

    def render(self) -> Any:
        """The picture of the camera, uint8 `[size, size, 3]`."""
        image = self._sim.sim.render(self._size, self._size, camera_name=self._camera)
        return np.ascontiguousarray(image[::-1])  # MuJoCo's rows run upwards here

    def close(self) -> None:
        """Frees the simulation."""
        self._sim.close()

    def _build(self, seed: int) -> Any:
        logging.getLogger("robosuite_logs").setLevel(logging.ERROR)  # it warns of its own parts
        import robosuite

        return robosuite.make(**self._settings, seed=seed)

    def _space(self) -> spaces.Dict:
        parts: dict[str, spaces.Space[Any]] = {}
        if self._obs != "pixels":
            for name, (_, width) in self._groups.items():
                parts[name] = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        if self._obs != "proprio":
            parts["image"] = spaces.Box(0, 255, (self._size, self._size, 3), np.uint8)
        return spaces.Dict(parts)

    def _observe(self, seen: dict[str, Any]) -> dict[str, Any]:
        obs: dict[str, Any] = {}
        if self._obs != "pixels":
            for name, (keys, _) in self._groups.items():
                obs[name] = np.concatenate([seen[key] for key in keys]).astype(np.float32)
        if self._obs != "proprio":
            obs["image"] = self.render()
        return obs


def _groups(seen: dict[str, Any]) -> dict[str, tuple[list[str], int]]:
    """`robot` and `objects`: robosuite's own sums of its observations, and their widths."""
    found = {
        "robot": [key for key in seen if key.endswith("proprio-state")],
        "objects": [key for key in seen if key == "object-state"],
    }
    return {
        name: (keys, sum(len(seen[key]) for key in keys)) for name, keys in found.items() if keys
    }


def _check_mujoco(who: str) -> None:
    found = importlib.metadata.version("mujoco")
    if found != MUJOCO:
        raise MissingPackageError(
            f"{who} needs mujoco {MUJOCO}, found {found}: pip install 'dreamer-plugin[robosuite]' "
            "in a Python environment of its own, then make it with python=PATH of that environment."
        )
