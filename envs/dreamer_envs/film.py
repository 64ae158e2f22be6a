"""Films of episodes, written while they are played.

Gymnasium's `RecordVideo` needs moviepy, which holds Pillow below 12, and keeps the frames of an
episode in memory; this needs imageio-ffmpeg, and keeps none.
"""

from __future__ import annotations

from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from dreamer_envs.errors import EnvOptionError, MissingPackageError
from dreamer_envs.images import in_colour
from dreamer_envs.transforms import wrap

AnyEnv = gym.Env[Any, Any]
FALLBACK_FPS = 20
IMAGE = "image"  # the observation that is filmed where the env draws nothing else


def film(env: AnyEnv, folder: str | Path, every: int = 1, fps: int | None = None) -> AnyEnv:
    """An env in the common form that films its episodes into a folder; see `Film`."""
    return wrap(Film(wrap(env), folder, every, fps))


class Film(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Writes `episode-<number>.mp4`: what the env draws, or the image that the agent sees.

    Args:
        env: in the common form. One made with `render_mode="rgb_array"` is filmed as it draws.
        folder: gets the files; a file of the same name is replaced.
        every: how many episodes apart the filmed ones are; the first is one.
        fps: frames per second; by default as the env's authors mean it to be shown.

    Raises:
        EnvOptionError: there is nothing to film, or `every` is below 1.
        MissingPackageError: imageio-ffmpeg is not installed.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, env: AnyEnv, folder: str | Path, every: int = 1, fps: int | None = None
    ) -> None:
        RecordConstructorArgs.__init__(self, folder=folder, every=every, fps=fps)
        gym.Wrapper.__init__(self, env)
        if every < 1:
            raise EnvOptionError(f"every is {every}; it must be at least 1.")
        if find_spec("imageio_ffmpeg") is None:
            raise MissingPackageError(
                "A film needs imageio-ffmpeg: pip install 'dreamer-plugin[video]'."
            )
        self._draws = env.render_mode == "rgb_array"
        shown = getattr(env.observation_space, "spaces", {}).get(IMAGE)
        if not self._draws and (shown is None or shown.dtype != np.uint8):
            raise EnvOptionError(
                f"There is nothing to film: render_mode is {env.render_mode!r} and no observation "
                f"named {IMAGE!r} is uint8; make the env with render_mode='rgb_array'."
            )
        self._folder, self._every = Path(folder), every
        self._fps = fps or int(env.metadata.get("render_fps") or FALLBACK_FPS)
        self._episode = -1
        self._writer: Generator[None, Any, None] | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, and a film if it is its turn."""
        self._finish()
        obs, info = self.env.reset(**kwargs)
        self._episode += 1
        if self._episode % self._every == 0:
            self._take(obs)
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step; the film ends with the episode."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        if self._writer is not None:
            self._take(obs)
            if terminated or truncated:
                self._finish()
        return obs, reward, terminated, truncated, info

    def close(self) -> None:
        """Ends the film and the env."""
        self._finish()
        self.env.close()

    def _take(self, obs: Any) -> None:
        """Adds a frame; begins the film with the first."""
        frame = np.asarray(self.env.render() if self._draws else obs[IMAGE])
        frame = in_colour(frame)
        if self._writer is None:
            import imageio_ffmpeg

            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"episode-{self._episode:06}.mp4"
            size = (frame.shape[1], frame.shape[0])
            self._writer = imageio_ffmpeg.write_frames(
                str(path), size, fps=self._fps, macro_block_size=2
            )
            self._writer.send(None)
        self._writer.send(np.ascontiguousarray(frame))

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
