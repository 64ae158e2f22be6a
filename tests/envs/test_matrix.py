"""The table of what was stepped: what it says of suites that failed, and that it is up to date."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dreamer_envs
from tests.envs import matrix, standins


def test_a_suite_that_takes_too_long_is_not_tested(monkeypatch, tmp_path):
    pid = tmp_path / "pid"
    shell = ["sh", "-c", f"sleep 600 & echo $! > {pid}; wait"]
    monkeypatch.setattr(matrix, "stepped", lambda *_: matrix.ran(shell))
    began = time.monotonic()
    found = matrix.tried("toy", tmp_path, 10, 0.5)
    assert found["failed"] == "timed out after 0.5 s" and time.monotonic() - began < 30
    end = time.monotonic() + 30
    while _runs(int(pid.read_text())):  # what the command started ends too
        assert time.monotonic() < end
        time.sleep(0.05)
    row = f"| `toy` | not tested: timed out after 0.5 s | | {found['date']} | | |"
    assert row in matrix.table({"toy": found}).splitlines()


def test_no_code_takes_the_deadline_for_an_error_of_its_own(monkeypatch, tmp_path):
    def swallows(*_):
        with contextlib.suppress(Exception):  # as a bridge does whose other end is gone
            time.sleep(60)
        return {}

    monkeypatch.setattr(matrix, "stepped", swallows)
    assert matrix.tried("toy", tmp_path, 10, 0.2)["failed"] == "timed out after 0.2 s"


def test_a_suite_that_fails_says_its_last_words(monkeypatch, tmp_path):
    code = "import sys; sys.exit('first\\nEnvError: no such level')"
    monkeypatch.setattr(matrix, "stepped", lambda *_: matrix.ran([sys.executable, "-c", code]))
    assert matrix.tried("toy", tmp_path, 10, 60)["failed"] == "EnvError: no such level"


def test_half_an_environment_is_removed(monkeypatch, tmp_path):
    def fails(command, env=None):
        raise subprocess.CalledProcessError(1, command, "", "no network")

    monkeypatch.setattr(matrix, "ran", fails)
    python = tmp_path / "crafter" / "bin" / "python"
    made = python.parent.mkdir
    monkeypatch.setattr(matrix.subprocess, "run", lambda *_, **__: made(parents=True))
    with pytest.raises(subprocess.CalledProcessError):
        matrix.environment("crafter", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_result_passes_through(monkeypatch, tmp_path):
    monkeypatch.setattr(matrix, "stepped", lambda *_: {"steps_per_s": 3})
    assert matrix.tried("toy", tmp_path, 10, 60) == {"steps_per_s": 3}


def test_the_page_and_the_listing_show_what_was_found():
    known = json.loads(matrix.TESTED.read_text())
    assert matrix.table(known) in matrix.PAGE.read_text()
    for info in dreamer_envs.available():
        if info.name not in {*matrix.ENVS, *standins.STEPPERS}:
            continue  # a suite of another package, which is installed here
        found = known.get(info.name, {})
        assert bool(info.tested) == ("steps" in found), info.name
        assert bool(info.failure) == ("failed" in found), info.name


def test_every_suite_that_comes_along_has_a_row():
    from dreamer_envs.suites import BUILTIN

    assert {spec.name for spec in BUILTIN} == {*matrix.ENVS, *standins.STEPPERS}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
