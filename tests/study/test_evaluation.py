"""A whole evaluation of a tiny run, as a user asks for it."""

import csv
import io
import json

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from dreamer_plugin.config import compose
from dreamer_plugin.doors.cli import app
from dreamer_plugin.run.loop import train
from dreamer_plugin.study import evaluation_files


def tiny_run(repo, folder, env):
    options = {"run.steps": 24, "run.logdir": str(folder / "run"), "seed": 3, "model.depth": 2}
    cfg = compose(env, config=[repo / "tests" / "run" / "tiny.yaml"], options=options).config
    return train(cfg, console=Console(file=io.StringIO())).run_dir


@pytest.fixture(scope="module")
def catch(repo, tmp_path_factory):
    """A run of toy/catch, whose episodes have 8 steps and an image of 64 x 64."""
    return tiny_run(repo, tmp_path_factory.mktemp("catch"), "toy/catch")


def call(*words, code=0):
    result = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_everything_is_printed_and_written(catch, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "results"
    words = (catch, "--which", "latest", "--episodes", 3, "--both", "--video", "--save-dir", out)
    result = call(*words)
    assert "3 episodes, drawn actions" in result.stdout
    assert "3 episodes, likeliest actions" in result.stdout
    assert "image/ssim" in result.stdout and "reconstruction, and open loop 0, 4" in result.stdout
    report = json.loads((out / "evaluation.json").read_text())
    quality = report["quality"]
    # 2 envs play 2 + 1 episodes of 9 records; the other env is some way into its second.
    assert quality["frames"] == 4 * 9 and quality["terminals"] == 4
    # With 5 frames of context an episode of 9 has starts at 5 frames, and 4 frames to foresee.
    assert quality["starts"] == [20, 16, 12, 8, 4]
    assert -1 <= quality["reconstruction"]["image/ssim"] <= 1
    assert report["deterministic"] is False and report["other"]["deterministic"] is True
    with (out / "episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows] == ["sampled"] * 3 + ["mode"] * 3
    assert [float(row["return"]) for row in rows[:3]] == report["returns"]
    with (out / "open_loop.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["starts"]) for row in rows] == quality["starts"]
    assert [float(row["image/mse"]) for row in rows] == quality["open_loop"]["image/mse"]
    with Image.open(out / "evaluation.png") as picture:
        assert min(picture.size) > 300
    with Image.open(out / "episode-image.gif") as film:
        assert (film.size, film.n_frames) == ((256, 256), 9)
    with Image.open(out / "open_loop-image.gif") as film:
        assert film.size == (3 * 256, 256) and film.n_frames <= 9


def test_without_matplotlib_the_rest_is_written(catch, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_files, "has_matplotlib", lambda: False)
    for name in ("evaluation.png", "episode-image.gif", "open_loop-x.gif"):  # of another one
        (tmp_path / name).touch()
    words = (catch, "--which", "latest", "--episodes", 1, "--save-dir", tmp_path)
    assert "pip install 'dreamer-plugin[plot]'" in call(*words).stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["episodes.csv", "evaluation.json", "open_loop.csv"]


def test_json_without_quality(catch):
    words = (catch, "--which", "latest", "--episodes", 1, "--no-quality", "--json")
    report = json.loads(call(*words).stdout)
    assert "quality" not in report and "other" not in report and report["episodes"] == 1


def test_an_agent_without_images(repo, tmp_path, monkeypatch):
    run = tiny_run(repo, tmp_path, "toy/reach")
    out = tmp_path / "results"
    result = call(run, "--which", "latest", "--episodes", 1, "--save-dir", out)
    assert "vector/mse" in result.stdout and "ssim" not in result.stdout
    # Films are refused before anything is played.
    monkeypatch.setattr("dreamer_plugin.study.evaluation.evaluate_fully", lambda *a, **o: 1 / 0)
    words = (run, "--which", "latest", "--save-dir", tmp_path / "new", "--video")
    assert "shows no images here, only ['vector']; leave" in call(*words, code=2).stderr
    assert not (tmp_path / "new").exists()


def test_a_place_that_cannot_be_is_refused_before_anything_is_played(tmp_path, monkeypatch):
    monkeypatch.setattr("dreamer_plugin.study.evaluation.evaluate_fully", lambda *a, **o: 1 / 0)
    (tmp_path / "file").touch()
    words = ("pretrained/cartpole", "--save-dir", tmp_path / "file" / "deeper")
    assert "Cannot write into " in call(*words, code=2).stderr
