"""The examples and the Python of the README run as they stand."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from tests.study.test_play import saved

pytestmark = pytest.mark.slow

SHORT = {
    "quick_start.py": ("--steps", "200"),
    "own_env.py": ("--steps", "200"),
    "own_head.py": ("--steps", "200"),
    "own_loop.py": ("--frames", "100"),
    "ten_lines.py": ("--steps", "120"),
    "torchrl_collector.py": ("--frames", "80"),
    "dream_env.py": ("--steps", "120", "--rounds", "2"),
    "offline.py": ("--frames", "200", "--updates", "2"),
}


def run(arguments: list[str], cwd) -> str:
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


@pytest.mark.parametrize("name", SHORT)
def test_an_example_runs(name, repo, tmp_path):
    assert run([str(repo / "examples" / name), *SHORT[name]], tmp_path)


def test_a_pipeline_is_switched_by_one_word(repo, tmp_path):
    pytest.importorskip("hydra")
    few = ("model.deter=16", "model.blocks=4", "replay.batch_length=8", "run.prefill=12")
    small = [f"trainer.{setting}" for setting in few]
    script = str(repo / "examples" / "pipeline" / "train.py")
    out = run([script, "trainer=dreamer", *small], tmp_path)
    assert "DreamerTrainer: 60 frames" in out


def test_curves_are_drawn(repo, tmp_path):
    pytest.importorskip("matplotlib")
    rows = [{"step": 8 * i, "episode/return": i % 3} for i in range(30)] + [{"step": 240}]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run([str(repo / "examples" / "plot_runs.py"), "curves.png", "run"], tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_film_has_a_page_for_each_frame(repo, tmp_path):
    saved(repo, tmp_path / "catch", "toy/catch", model__depth=2)
    out = run([str(repo / "examples" / "film.py"), "catch", "film.gif", "--episodes=2"], tmp_path)
    assert out.startswith("18 frames")  # a ball falls through 9 rows
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 18 and film.size == (608, 224)  # 3 * 192 + 4 * 8, 24 + 192 + 8


def test_a_film_of_what_is_no_image_is_refused(repo, tmp_path):
    saved(repo, tmp_path / "cartpole", "gym/CartPole-v1")
    command = [sys.executable, str(repo / "examples" / "film.py"), "cartpole", "film.gif"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert "sees no image" in result.stderr and not (tmp_path / "film.gif").exists()


def test_every_example_is_run(repo):
    examples = {path.name for path in (repo / "examples").glob("*.py")}
    # tests/run/test_export.py plays with the last one.
    assert examples == {*SHORT, "film.py", "plot_runs.py", "play_onnx.py"}


@pytest.mark.parametrize("name", [*SHORT, "pipeline/train.py"])
def test_an_example_is_under_eighty_lines(name, repo):
    assert len((repo / "examples" / name).read_text().splitlines()) < 80


def test_the_python_of_the_readme_runs(repo, tmp_path):
    """Block by block, the later ones using what the earlier ones saved; training is cut short."""
    text = (repo / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 2
    for block in blocks:
        run(["-c", block.replace("20_000", "200")], tmp_path)
