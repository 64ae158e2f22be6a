"""Films: which episodes, how many frames, and what they show."""

from __future__ import annotations

import importlib.util

import gymnasium as gym
import numpy as np
import pytest

import dreamer_envs
from dreamer_envs import film as films
from dreamer_envs.errors import EnvOptionError, MissingPackageError
from dreamer_envs.film import film
from tests.envs.test_transforms import Fake

needs_ffmpeg = pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None, reason="imageio-ffmpeg is not installed"
)


def frames_of(path):
    """All frames of a film, `[T, H, W, 3]`."""
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(raw, np.uint8).reshape(height, width, 3) for raw in reader])


@needs_ffmpeg
@pytest.mark.filterwarnings("ignore")  # what SDL and ffmpeg of this machine complain about
def test_every_second_episode_is_filmed_whole(tmp_path):
    env = film(dreamer_envs.make("pinpad/three", length=5), tmp_path / "films", every=2)
    assert env.can_save
    lengths, images = [], []
    for episode in range(3):
        images.append([env.reset(seed=episode)[0]["image"]])
        over, length = False, 0
        while not over:
            obs, _, terminated, truncated, _ = env.step(length % 4)
            images[-1].append(obs["image"])
            length += 1
            over = terminated or truncated
        lengths.append(length)
    env.close()
    names = sorted(path.name for path in (tmp_path / "films").iterdir())
    assert names == ["episode-000000.mp4", "episode-000002.mp4"]
    for name, episode in zip(names, (0, 2), strict=True):
        shown = frames_of(tmp_path / "films" / name)
        assert len(shown) == lengths[episode] + 1 == 6
        # Lossy, and colours at half the resolution: near on the whole.
        assert np.abs(shown - np.stack(images[episode]).astype(float)).mean() < 12


@needs_ffmpeg
def test_an_env_that_draws_is_filmed_as_it_draws(tmp_path):
    env = film(dreamer_envs.make("gym/CartPole-v1", render_mode="rgb_array"), tmp_path)
    drawn = []
    env.reset(seed=0)
    drawn.append(env.render().shape)
    env.close()  # in the middle of the episode: what there is, is kept
    assert frames_of(tmp_path / "episode-000000.mp4").shape[1:] == drawn[0]


@needs_ffmpeg
def test_nothing_to_film_is_told(tmp_path):
    with pytest.raises(EnvOptionError, match="make the env with render_mode='rgb_array'"):
        film(dreamer_envs.make("gym/CartPole-v1"), tmp_path)
    numbers = gym.spaces.Dict(image=gym.spaces.Box(0, 1, (8, 8, 3), np.float32))
    with pytest.raises(EnvOptionError, match="no observation named 'image' is uint8"):
        film(Fake(numbers), tmp_path)
    with pytest.raises(EnvOptionError, match="every is 0"):
        film(dreamer_envs.make("pinpad/three"), tmp_path, every=0)


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(films, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"dreamer-plugin\[video\]"):
        film(dreamer_envs.make("pinpad/three"), tmp_path)
