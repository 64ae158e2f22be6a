"""Meta-World: fifty tasks of one robot arm. Nothing ends an episode but its 500 steps."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.seeds import WIDE_SEED_LIMIT
from dreamer_envs.suites import rendering
from dreamer_envs.transforms import ActionRepeat, RenderObs

OBS = ("proprio", "pixels", "both")
CAMERA = "corner2"


def make(
    task: str,
    obs: str = "proprio",
    size: int = 64,
    camera: str = CAMERA,
    action_repeat: int = 1,
    render_mode: str | None = None,
) -> gym.Env[Any, Any]:
    """Builds a task as MT1 has it: the goal is part of the observation.

    Args:
        task: for example `reach`, for Meta-World's `reach-v3`.
        obs: `proprio` for the 39 numbers, `pixels` for an image, `both`.
        size: rows and columns of the image.
        camera: its name: `corner`, `corner2`, `corner3`, `topview`, `behindGripper`, `gripperPOV`.
        action_repeat: times each action is applied.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value.
    """
    who = f"metaworld/{task}"
    values.one_of(who, obs=(obs, OBS))
    values.drawing(who, render_mode)
    draws = obs != "proprio" or render_mode is not None
    rendering.select_backend(needed=draws, who=who)
    env: gym.Env[Any, Any] = Arm(f"{task}-v3", size, camera if draws else "")
    if obs != "proprio":
        env = RenderObs(env, size, keep=obs == "both")
    return ActionRepeat(env, action_repeat) if action_repeat != 1 else env


class Arm(gym.Env[Any, Any]):
    """A task, with a goal among fifty drawn at each reset.

    Args:
        name: Meta-World's name. size: of pictures. camera: that takes them, "" for none.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 80}

    def __init__(self, name: str, size: int, camera: str) -> None:
        self._name = name
        self._goals: list[Any] = []
        self._draw_goals(0)
        kind = self._bench.train_classes[name]
        self.render_mode = "rgb_array" if camera else None
        drawn = {"camera_name": camera, "width": size, "height": size} if camera else {}
        self._arm = kind(render_mode=self.render_mode, **drawn)
        self._arm.set_task(self._goals[0])
        shape = self._arm.observation_space.shape
        self.observation_space = spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode with another goal; a seed draws the fifty goals anew."""
        super().reset(seed=seed)
        if seed is not None:
            self._draw_goals(seed % WIDE_SEED_LIMIT)
        self._arm.set_task(self._goals[int(self.np_random.integers(len(self._goals)))])
        obs, _ = self._arm.reset()
        return obs.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; `info["success"]` is 1 where the task is done, which ends nothing."""
        obs, reward, terminated, truncated, info = self._arm.step(np.asarray(action, np.float64))
        numbers = {"success": float(info["success"])}
        return obs.astype(np.float32), float(reward), bool(terminated), bool(truncated), numbers

    def render(self) -> Any:
        """The picture; Meta-World's are upside down."""
        return np.ascontiguousarray(self._arm.render()[::-1])

    def close(self) -> None:
        """Frees the renderer."""
        self._arm.close()

    def _draw_goals(self, seed: int) -> None:
        import metaworld

        self._bench = metaworld.MT1(self._name, seed=seed)
        self._goals = self._bench.train_tasks
