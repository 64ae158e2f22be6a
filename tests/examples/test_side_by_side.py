"""Implementations are timed in turns, each in its own process, and a failing one stops no other."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FAKE = """
import json, sys, time
sys.path.insert(0, {folder!r})
from worker import Job, Peer, serve

def build(job):
    print("a library prints this")
    job.only("fast", "ends")
    if job.folder:
        raise RuntimeError("no such\\nthing")

    def update():
        with open({log!r}, "a") as log:
            log.write(sys.argv[2] + " ")
        if "ends" in job.options:
            sys.exit(3)

    return Peer(update, "1.0", "does nothing", "here")

serve(build)
"""


@pytest.fixture
def side_by_side(monkeypatch, repo):
    monkeypatch.syspath_prepend(str(repo / "examples" / "benchmarks"))
    yield importlib.import_module("side_by_side")
    for name in ("side_by_side", "worker"):
        sys.modules.pop(name)


@pytest.fixture
def begin(side_by_side, repo, tmp_path):
    """Starts a fake worker in the place of an adapter; they write their names into `log`."""
    script = tmp_path / "fake.py"
    folder, log = str(repo / "examples" / "benchmarks"), str(tmp_path / "log")
    script.write_text(FAKE.format(folder=folder, log=log))

    def start(entry, job):
        told = vars(job) | {"folder": entry.folder, "options": list(entry.options)}
        command = [sys.executable, str(script), json.dumps(told), entry.label]
        return side_by_side.Worker(entry, command, {})

    return start


def test_the_parts_of_a_peer(side_by_side, tmp_path):
    entry = side_by_side.parse(f"sheeprl+compile+keep_memory={tmp_path}@{sys.executable}")
    assert (entry.name, entry.options) == ("sheeprl", ("compile", "keep_memory"))
    assert (entry.folder, entry.python) == (str(tmp_path.resolve()), sys.executable)
    assert entry.label == "sheeprl+compile+keep_memory"
    assert side_by_side.parse("torchrl") == side_by_side.Entry("torchrl")


def test_no_updates_are_refused_by_name(side_by_side, capsys):
    with pytest.raises(SystemExit):
        side_by_side.main(["--updates", "0"])
    assert "--updates 0: time at least one" in capsys.readouterr().err


def test_a_peer_may_have_a_precision_of_its_own(side_by_side):
    job = side_by_side.Job("tiny", "1m", "float32", "cpu", "")
    entry = side_by_side.Entry("ours", ("compile", "bfloat16"), "somewhere")
    told = side_by_side.job_for(entry, job)
    assert (told.precision, told.options, told.folder) == ("bfloat16", ["compile"], "somewhere")
    assert side_by_side.job_for(side_by_side.Entry("ours"), job) == job
    assert job.options == [] and entry.label == "ours+compile+bfloat16"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("torch", "no adapter for 'torch'; there are dreamerv3, dreamerv3_torch, ours, r2dreamer"),
        ("torchrl=/no/where", "there is no folder '/no/where'"),
        ("torchrl@/no/python", "there is no Python '/no/python'"),
    ],
)
def test_a_peer_that_cannot_be(side_by_side, text, why):
    with pytest.raises(argparse.ArgumentTypeError, match=why):
        side_by_side.parse(text)


def test_each_makes_one_update_in_a_round_and_the_first_one_changes(side_by_side, begin, tmp_path):
    entries = [side_by_side.Entry(name) for name in ("ours", "other")]
    job = side_by_side.Job("tiny", "1m", "float32", "cpu", "")
    told = []
    workers = side_by_side.run(entries, job, 3, told.append, begin)
    # By hand: two first updates of each, then rounds that begin with the next one.
    order = "ours ours other other ours other other ours ours other "
    assert (tmp_path / "log").read_text() == order
    assert [len(worker.seconds) for worker in workers] == [3, 3]
    assert all(worker.first > 0 for worker in workers)
    assert all(1e6 < worker.peak_rss < 1e10 for worker in workers)  # bytes: Python and NumPy
    assert workers[1].about == {"version": "1.0", "differs": "does nothing", "tried": "here"}
    assert told[0] == "ours: building" and told[-1] == "round 3 of 3"


def test_one_that_fails_is_named_and_the_others_go_on(side_by_side, begin, tmp_path):
    entries = [
        side_by_side.Entry("ours"),
        side_by_side.Entry("other", folder=str(tmp_path)),
        side_by_side.Entry("other", ("ends",)),
        side_by_side.Entry("other", ("slow",)),
    ]
    job = side_by_side.Job("tiny", "1m", "float32", "cpu", "")
    workers = side_by_side.run(entries, job, 2, lambda text: None, begin)
    assert [worker.failed for worker in workers] == [
        "",
        "RuntimeError: no such thing",
        "it ended without an answer",
        "ValueError: options ['slow'] are not among ['ends', 'fast']",
    ]
    assert len(workers[0].seconds) == 2
    rows = side_by_side.report(workers, job)["implementations"]
    assert [row.get("failed") for row in rows] == [worker.failed or None for worker in workers]
    lines = [str(line) for line in side_by_side.shown(side_by_side.report(workers, job))[1:]]
    assert lines[1] == "other: not timed: RuntimeError: no such thing"


def test_a_ratio_is_that_of_a_round(side_by_side, begin):
    entries = [side_by_side.Entry("ours"), side_by_side.Entry("other")]
    job = side_by_side.Job("tiny", "1m", "float32", "cpu", "", threads=1)
    workers = side_by_side.run(entries, job, 0, lambda text: None, begin)
    workers[0].seconds, workers[1].seconds = [1.0, 2.0, 4.0], [3.0, 4.0, 20.0]
    workers[0].peak_rss, workers[1].peak_rss = 0, 2_345_000_000
    result = side_by_side.report(workers, job)
    ours, other = result["implementations"]
    assert ours["ratio"] == 1 and other["ratio"] == 3  # of 3, 2 and 5; medians alone would give 2
    assert other["seconds_per_update"] == 4 and result["threads"] == 1
    table, remark, _ = side_by_side.shown(result)
    assert [list(column.cells)[1] for column in table.columns][1:5] == [
        "1.0",
        "4.000",
        "3.000",
        "20.000",
    ]
    assert list(table.columns[-1].cells) == ["", "2.35"]
    assert str(remark) == "ours: does nothing; here"


def test_the_job_has_the_widths_of_the_workload(side_by_side):
    job = side_by_side.job_of("vision12m", "bfloat16", "cpu", 2)
    widths = (job.deter, job.hidden, job.units, job.depth, job.groups, job.classes, job.blocks)
    assert widths == (2048, 256, 256, 16, 32, 16, 8)  # configs/size/12m.yaml, agent/v3.yaml
    assert (job.rows, job.length, job.horizon, job.image) == (16, 64, 15, True)
    assert (job.size, job.precision, job.threads, job.obs_key) == ("12m", "bfloat16", 2, "image")


@pytest.mark.parametrize("image", [False, True])
def test_the_batch_for_others(side_by_side, image):
    worker = importlib.import_module("worker")
    data = worker.noise(worker.Job("w", "1m", "float32", "cpu", "", image=image, rows=3, length=5))
    assert data["obs"].shape == ((3, 6, 64, 64, 3) if image else (3, 6, 24))
    assert data["obs"].dtype == (np.uint8 if image else np.float32)
    assert np.abs(data["action"]).max() <= 1 and data["stoch"].max() < 4
    assert data["deter"].shape == (3, 6, 512) and not data["is_first"][:, 0].any()


def test_an_adapter_says_what_was_never_tried(side_by_side):
    worker = importlib.import_module("worker")
    here = worker.Job("w", "1m", "float32", "cpu", "")
    there = worker.Job("w", "1m", "float32", "cuda", "", options=["compile"])
    assert worker.tried(here, "jax 1") == "tried on a CPU with jax 1"
    assert worker.tried(there, "jax 1") == "tried on a CPU with jax 1, never on a GPU or compiled"
    known = worker.tried(there, "jax 1", compiled=True)
    assert known == "tried on a CPU with jax 1, never on a GPU"


def test_our_adapter_updates(side_by_side, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(side_by_side.__file__).parent))
    ours = importlib.import_module("peer_ours")
    job = side_by_side.job_of("tiny", "float32", "cpu", 1)
    job.options = ["default_malloc"]  # the test's own process is not to keep what it frees
    peer = ours.build(job)
    for _ in range(2):
        peer.update()
    assert peer.version


@pytest.mark.slow
def test_ours_and_torchrl_run(repo):
    script = Path(repo / "examples" / "benchmarks" / "side_by_side.py")
    words = ("--workload", "tiny", "--updates", "2", "--peer", "torchrl", "--json")
    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rows = json.loads(done.stdout)["implementations"]
    assert [row["implementation"] for row in rows] == ["ours", "torchrl"]
    assert all(row["seconds_per_update"] > 0 and row["ratio"] > 0 for row in rows)
