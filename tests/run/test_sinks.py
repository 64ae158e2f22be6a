"""Where numbers and films of a run go: TensorBoard, a table, Weights & Biases."""

import csv
import json
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.films import write_gif
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.metrics import TIMES, MetricsLog
from dreamer_plugin.run.sinks import Table, TensorBoard, sinks_of
from tests.run.conftest import tiny_config


def table(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def gif(file):
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.full((64, 64, 3), 100, np.uint8)
    write_gif(file, frames)
    return file


@pytest.mark.parametrize("asked, has", [(10, 10), (8, 1000 / 120), (40, 50), (100, 50)])
def test_a_gif_tells_the_rate_it_has(tmp_path, asked, has):
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[1] = 200
    assert write_gif(tmp_path / "a.gif", frames, asked) == has
    with Image.open(tmp_path / "a.gif") as film:
        assert film.info["duration"] == pytest.approx(1000 / has)


def test_a_table_gets_columns_as_they_come(tmp_path):
    log = MetricsLog(tmp_path, sinks=[Table])
    log.write(1, {"loss": 0.5}, seconds=2.0)
    log.write(2, {"loss": math.nan}, seconds=3.0)
    log.write(3, {"episode/return": 7.0}, seconds=4.0)
    log.write(4, {"loss": 0.25}, seconds=5.0)
    log.close()
    assert table(tmp_path) == [
        {"step": "1", "seconds": "2.0", "loss": "0.5", "episode/return": ""},
        {"step": "2", "seconds": "3.0", "loss": "", "episode/return": ""},
        {"step": "3", "seconds": "4.0", "loss": "", "episode/return": "7.0"},
        {"step": "4", "seconds": "5.0", "loss": "0.25", "episode/return": ""},
    ]


def test_a_resumed_table_is_that_of_the_rows_that_stay(tmp_path):
    """Begun late, too: what was logged without it is in it."""
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, {"loss": float(step)})
    log.close()
    log = MetricsLog(tmp_path, resumed_at=2, sinks=[Table])
    log.write(3, {"loss": 9.0})
    log.close()
    assert [(row["step"], row["loss"]) for row in table(tmp_path)] == [
        ("1", "1.0"),
        ("2", "2.0"),
        ("3", "9.0"),
    ]


def test_tensorboard_reads_numbers_and_films(tmp_path):
    log = MetricsLog(tmp_path, sinks=[TensorBoard])
    log.write(20, {"loss/reward": 0.5})
    log.film(20, "film/image", gif(tmp_path / "x.gif"))
    log.close()
    found = events(tmp_path)
    (scalar,) = found.Scalars("loss/reward")
    assert (scalar.step, scalar.value) == (20, 0.5)
    (image,) = found.Images("film/image")
    assert (image.step, image.width, image.height) == (20, 256, 256)
    assert image.encoded_image_string == (tmp_path / "x.gif").read_bytes()


def test_tensorboard_begins_anew_with_a_run_that_had_no_checkpoint(tmp_path):
    for steps in ((10, 20), (12,)):
        log = MetricsLog(tmp_path, resumed_at=0, sinks=[TensorBoard])
        for step in steps:
            log.write(step, {"loss": 0.5})
        log.close()
    assert [scalar.step for scalar in events(tmp_path).Scalars("loss")] == [12]


def test_a_run_writes_what_it_is_told_to(tiny, quiet):
    cfg = tiny("toy/catch", **{"run.csv": True, "run.tensorboard": False, "run.video_every": 40})
    folder = train(cfg, console=quiet).run_dir
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in table(folder)] == [str(row["step"]) for row in rows]
    assert "loss/image" in table(folder)[-1] and not list(folder.glob("events.*"))
    films = sorted(path.name for path in (folder / "films").iterdir())
    # An episode of catch has 9 frames and there are two envs: the first one ends at step 18, the
    # next one begins at the first reset from step 40 on, 56, and ends at 72.
    assert films == ["step-000000018-image.gif", "step-000000072-image.gif"]


def test_films_of_what_is_not_seen_in_images_are_refused(tiny, quiet):
    with pytest.raises(UsageError, match=r"video_every=40 films .*sees vector, no image"):
        train(tiny("gym/CartPole-v1", **{"run.video_every": 40}), console=quiet)


def test_films_change_nothing_of_a_run(tiny, quiet):
    def losses(name, **options):
        folder = train(tiny("toy/catch", name, **options), console=quiet).run_dir
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]

    assert losses("with", **{"run.video_every": 20}) == losses("without")


def standin(monkeypatch):
    """A module in the place of W&B that keeps what it is told."""
    told = SimpleNamespace(init=[], rows=[], finished=0)

    class Run:
        def define_metric(self, *args, **options):
            pass

        def log(self, values):
            told.rows.append(values)

        def finish(self):
            told.finished += 1

    def init(**options):
        told.init.append(options)
        return Run()

    module = SimpleNamespace(
        __spec__=object(),
        init=init,
        Settings=lambda **options: options,
        Video=lambda path, format: (path, format),
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    return told


def test_what_wandb_is_told(tmp_path, monkeypatch):
    told = standin(monkeypatch)
    monkeypatch.setenv("SOME_TOKEN", "a long secret")
    cfg = tiny_config(tmp_path, **{"run.wandb": "offline"})
    cfg.env.options["url"] = "http://x/?t=a long secret"
    for resumed in (None, 4):
        log = MetricsLog(tmp_path, resumed, sinks_of(cfg))
        log.write(4, {"loss": 1.0}, frames=8)
        log.film(4, "film/image", gif(tmp_path / "x.gif"))
        log.close()
    first, second = told.init
    assert first["id"] == second["id"] and first["mode"] == "offline"
    assert first["dir"] == tmp_path and first["resume"] == "allow"
    assert "a long secret" not in str(first) and first["config"]["run"]["steps"] == 80
    assert told.rows[0] == {"step": 4, "frames": 8, "loss": 1.0}
    assert told.rows[1] == {"step": 4, "film/image": (str(tmp_path / "x.gif"), "gif")}
    assert told.finished == 2


def test_wandb_that_is_missing_is_said_before_anything_is_made(tmp_path, monkeypatch, quiet):
    monkeypatch.setattr("dreamer_plugin.run.sinks.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"run.wandb=offline needs .*dreamer-plugin\[wandb\]"):
        train(tiny_config(tmp_path, **{"run.wandb": "offline"}), console=quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_wandb_itself_offline(tmp_path):
    pytest.importorskip("wandb")
    code = (
        "import sys; from pathlib import Path; from tests.run.conftest import *\n"
        "from dreamer_plugin.run.loop import train\n"
        "cfg = tiny_config(Path(sys.argv[1]), 'toy/catch', "
        "**{'run.wandb': 'offline', 'run.video_every': 40})\n"
        "train(cfg, console=silent_console())"
    )
    words = [sys.executable, "-c", code, tmp_path]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([".", "envs"])}
    subprocess.run(words, check=True, env=environ, timeout=300)
    (file,) = tmp_path.glob("run/wandb/offline-run-*/*.wandb")
    told = file.read_bytes()
    assert b"loss/image" in told and b"film/image" in told and b"imag_horizon" in told
    assert len(list(tmp_path.glob("run/wandb/offline-run-*/files/media/**/*.gif"))) == 2
