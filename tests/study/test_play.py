"""A film of an agent shows its whole episodes."""

import sys

import numpy as np
import pytest
from PIL import Image

from dreamer_plugin import Dreamer
from dreamer_plugin.doors.cli_play import has_display
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.evaluate import choose
from dreamer_plugin.run.telling import heard_by
from dreamer_plugin.study import play as shows
from tests.cli.calling import call


def saved(repo, folder, env, **options):
    Dreamer(env, config=repo / "tests" / "run" / "tiny.yaml", **options).save(folder, replay=False)
    return folder


@pytest.fixture(scope="module")
def catch(repo, tmp_path_factory):
    return saved(repo, tmp_path_factory.mktemp("play") / "run", "toy/catch", model__depth=2)


def test_a_gif_has_every_frame(catch, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    words = ("play", catch, "--which", "latest")
    out = call(*words, "--episodes", 2, "--out", tmp_path / "two.gif").stdout
    assert out.count("in 8 steps, ended by the task") == 2 and "18 frames, 8.33 a second" in out
    with Image.open(tmp_path / "two.gif") as film:
        # Catch is drawn with 64 pixels, enlarged to 256; equal frames in a row are one in a GIF.
        assert film.size == (256, 256) and 9 <= film.n_frames <= 18
        assert film.info["duration"] == 120  # 8 a second in hundredths of a second
    call(*words)
    assert (catch / "play.gif").read_bytes()[:6] == b"GIF89a"


def test_the_same_seed_is_the_same_film(catch):
    first, second = (list(shows.play(choose(catch, "latest"), 1, seed=3)) for _ in range(2))
    assert first[0][0].rewards == second[0][0].rewards
    assert np.array_equal(first[0][0].frames, second[0][0].frames)


def test_the_agents_own_image_serves_where_the_env_draws_nothing(catch):
    ((episode, fps),) = shows.play(choose(catch, "latest"), mode=None)
    assert len(episode.frames) == 9 and episode.frames[0].shape == (64, 64, 3) and fps == 8


def test_a_window_is_the_envs_own(repo, tmp_path):
    """SDL draws into nothing here; the env steps in real time, so the agent should fall soon."""
    pytest.importorskip("pygame")
    run = saved(repo, tmp_path / "run", "gym/CartPole-v1")
    ((episode, fps),) = shows.play(choose(run, "latest"), mode="human")
    assert episode.frames == [] and len(episode.rewards) >= 8 and fps == 50


def test_what_cannot_be_seen_is_said(repo, tmp_path):
    run = saved(repo, tmp_path / "run", "toy/recall")
    with pytest.raises(UsageError, match="toy/recall draws nothing, and its agent sees no image"):
        list(shows.play(choose(run, "latest")))


def test_files_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="neither a .gif nor an .mp4"):
        shows.require_video(tmp_path / "a.avi")
    with pytest.raises(UsageError, match="there is no folder"):
        shows.require_video(tmp_path / "no" / "a.gif")
    (tmp_path / "b.gif").mkdir()
    with pytest.raises(UsageError, match="Cannot write .*b.gif: Is a directory; try --out"):
        shows.require_video(tmp_path / "b.gif")
    shows.require_video(tmp_path / "c.gif")
    shows.require_video(tmp_path / "C.GIF")
    shows.write_video(tmp_path / "C.GIF", [np.zeros((8, 8, 3), np.uint8)], 10)
    assert (tmp_path / "C.GIF").read_bytes()[:6] == b"GIF89a"
    assert not (tmp_path / "c.gif").exists()  # nothing is left of the trial
    monkeypatch.setattr(shows, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package imageio-ffmpeg"):
        shows.require_video(tmp_path / "a.mp4")


def test_an_mp4_plays(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = [np.full((65, 64, 3), 20 * i, np.uint8) for i in range(10)]
    shows.write_video(tmp_path / "a.mp4", frames, 10)
    count, seconds = ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
    assert (count, round(seconds, 1)) == (10, 1.0)


def test_how_far_a_film_is_is_told(catch, tmp_path):
    told = []
    with heard_by(lambda what, done, total: told.append((what, done, total))):
        ((episode, fps),) = shows.play(choose(catch, "latest"))
        shows.write_video(tmp_path / "a.gif", episode.frames, fps)
    assert ("steps of this episode", 7, 0) in told and ("steps of this episode", 8, 8) in told
    assert ("frames drawn", 5, 9) in told and told[-1] == ("frames drawn", 9, 9)


def test_where_a_window_can_open():
    assert has_display({"DISPLAY": ":0"}, "linux") and has_display({}, "darwin")
    assert not has_display({}, "linux") and sys.platform
