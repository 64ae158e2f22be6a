"""Each point of the growth of an update is measured once, and drawn."""

import importlib
import json
import sys

import pytest


@pytest.fixture
def growth(monkeypatch, repo):
    monkeypatch.syspath_prepend(str(repo / "examples" / "benchmarks"))
    yield importlib.import_module("growth")
    sys.modules.pop("growth")


def test_points_are_measured_once_and_drawn(growth, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    axes = {"batch": ([1, 2], {}), "envs": ([3], {})}
    monkeypatch.setattr(growth, "AXES", axes)
    out = str(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["growth.py", "--workload", "tiny", "--out", out])
    growth.main()
    points = json.loads((tmp_path / "out.json").read_text())
    assert [(p["axis"], p["value"]) for p in points] == [("batch", 1), ("batch", 2), ("envs", 3)]
    assert all(p["seconds"] > 0 and p["parameters"] > 1000 for p in points)
    assert (tmp_path / "out.png").stat().st_size > 1000
    axes["batch"][0].append(4)
    growth.main()
    again = json.loads((tmp_path / "out.json").read_text())
    assert again[:3] == points and [p["value"] for p in again] == [1, 2, 3, 4]


def test_no_updates_are_refused_by_name(growth, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["growth.py", "--out", "out", "--updates", "-1"])
    with pytest.raises(SystemExit):
        growth.main()
    assert "--updates -1: time at least one" in capsys.readouterr().err


def test_a_value_reaches_the_setting_that_its_axis_is_of(growth, monkeypatch):
    seen = []
    monkeypatch.setattr(
        growth, "timed", lambda training: seen.append(training.cfg) or float(len(seen))
    )
    assert growth.measure("tiny", "horizon", 2, updates=1)["seconds"] == 1.0  # the least of two
    growth.measure("tiny", "length", 5, updates=0)
    assert (seen[0].behavior.imag_horizon, seen[-1].replay.batch_length) == (2, 5)
