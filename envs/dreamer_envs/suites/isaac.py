"""Isaac Lab: robots on NVIDIA's Isaac Sim, one copy of a task at a time.

Isaac Lab begins the next episode in the step that ends one, and the last frame is never seen:

    Isaac   step(a) -> reward, the end, the frame of the NEXT episode
    here    step(a) -> that reward, the end, the frame before; reset() -> the next episode's

It is made for thousands of copies on a GPU; as an env among others it is slow.
"""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs import values
from dreamer_envs.errors import EnvOptionError
from dreamer_envs.images import Image
from dreamer_envs.seeds import SEED_LIMIT

SIMULATORS: list[Any] = []  # the one that a process may start


class Robot(gym.Env[Any, Any]):
    """A task of Isaac Lab; needs a GPU. A process may have one.

    Args:
        task: Isaac Lab's id, such as `Isaac-Cartpole-v0`.
        device: of the simulation.
        cameras: whether cameras work, which tasks that see need, and pictures.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value, or no such task.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}

    def __init__(
        self,
        task: str,
        device: str = "cuda:0",
        cameras: bool = False,
        render_mode: str | None = None,
    ) -> None:
        values.drawing(f"isaac/{task}", render_mode)
        self.render_mode = render_mode
        self._env = _make(task, device, cameras or render_mode is not None, render_mode)
        core = self._env.unwrapped
        self.observation_space = _floats(core.single_observation_space)
        self.action_space = _finite(core.single_action_space)
        self._obs: Any = None
        self._next: Any = None  # first frame of an episode that began by itself
        self._like: Any = None  # a tensor, from which actions are made

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, or goes on with the one that began at the last end."""
        super().reset(seed=seed)
        if seed is not None or self._next is None:
            seen, _ = self._env.reset(seed=None if seed is None else seed % SEED_LIMIT)
            self._like = _any_tensor(seen)
            self._obs = _single(seen)
        else:
            self._obs = self._next
        self._next = None
        return self._obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step."""
        batch = self._like.new_tensor(np.asarray(action, np.float32)[None])
        seen, reward, terminated, truncated, _ = self._env.step(batch)
        ended, cut = bool(terminated[0]), bool(truncated[0])
        if ended or cut:
            self._next = _single(seen)
        else:
            self._obs, self._next = _single(seen), None
        return self._obs, float(reward[0]), ended, cut and not ended, {}

    def render(self) -> Any:
        """The picture, uint8 `[H, W, 3]`."""
        picture: Image = self._env.render()
        return picture

    def close(self) -> None:
        """Ends the task; the simulator ends with the process."""
        self._env.close()


def match(text: str) -> str | None:
    """Isaac Lab's id that a text is: `Isaac-...-v0`; the head may be left out."""
    if text.startswith("Isaac-") and text.rpartition("-v")[2].isdigit():
        return text
    return f"Isaac-{text}" if text.rpartition("-v")[2].isdigit() and "/" not in text else None


def _make(task: str, device: str, cameras: bool, render_mode: str | None) -> Any:
    # The simulator first: most of Isaac Lab cannot be imported before it runs.
    launcher = importlib.import_module("isaaclab.app").AppLauncher
    if not SIMULATORS:
        settings = {"headless": True, "device": device, "enable_cameras": cameras}
        SIMULATORS.append(launcher(settings).app)
    importlib.import_module("isaaclab_tasks")  # registers the ids
    if task not in gym.registry:
        known = sorted(name for name in gym.registry if name.startswith("Isaac-"))
        raise EnvOptionError(f"isaac/{task} is none of Isaac Lab's {len(known)} tasks: {known}.")
    parse = importlib.import_module("isaaclab_tasks.utils").parse_env_cfg
    settings = parse(task, device=device, num_envs=1)
    return gym.make(task, cfg=settings, render_mode=render_mode)


def _single(seen: Any) -> Any:
    """The only copy's part of a batch of tensors; images as they are, all else float32."""
    if hasattr(seen, "items"):
        return {key: _single(part) for key, part in seen.items()}
    array = seen[0].detach().cpu().numpy()
    return array if array.dtype == np.uint8 else array.astype(np.float32)


def _any_tensor(seen: Any) -> Any:
    while hasattr(seen, "items"):
        seen = next(iter(seen.values()))
    return seen.float()


def _floats(space: Any) -> spaces.Space[Any]:
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _floats(part) for key, part in space.spaces.items()})
    if space.dtype == np.uint8:
        return spaces.Box(0, 255, space.shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, space.shape, np.float32)


def _finite(space: Any) -> spaces.Space[Any]:
    """Isaac Lab declares actions without bounds and scales those from -1 to 1 itself."""
    if isinstance(space, spaces.Box) and not np.isfinite([space.low, space.high]).all():
        return spaces.Box(-1.0, 1.0, space.shape, np.float32)
    found: spaces.Space[Any] = space
    return found
