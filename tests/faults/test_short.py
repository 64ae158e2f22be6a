"""The fault harness in short; its full results are in docs/reliability.md."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import diskfull_faults
from tests.faults.__main__ import main, table

ROOT = Path(__file__).parents[2]


def test_env_faults_are_survived(capsys):
    assert main(["env", "--n", "6", "--timeout", "0.5"]) == 0
    text = capsys.readouterr().out
    assert text.count("| 1 | 1 | 0 | 0 |") == 6  # injected, survived, hung, corrupt, of six kinds


def test_the_exit_code_tells_what_was_not_survived(monkeypatch):
    from tests.faults import env_faults

    lost = {"detected": [], "recovered": [], "missed": []}
    monkeypatch.setattr(env_faults, "inject", lambda *_: lost)
    assert main(["env", "--n", "6"]) == 1


def test_nothing_injected_is_nothing_survived():
    assert main(["resume-matrix", "--only", "no such case"]) == 1


def test_a_row_shows_what_it_has():
    assert table([{"fault": "x", "injected": 3}]).splitlines()[-1].startswith("| x | 3 | - |")


def test_damaged_checkpoints_are_noticed_and_gone_on_from():
    assert main(["corrupt", "--n", "60"]) == 0


def test_numbers_that_are_not_finite_are_survived():
    assert main(["nan", "--n", "1"]) == 0


def test_attacks_come_to_nothing():
    assert main(["security"]) == 0


def test_continuations_are_exact_or_refused():
    cases = "gym/CartPole-v1,a full replay,another number of envs,replay moved to disk"
    assert main(["resume-matrix", "--only", cases]) == 0


def test_mutated_inputs_are_refused_with_our_errors():
    assert main(["fuzz", "--n", "200", "--seconds", "20"]) == 0


def alone(*words):
    """Run a command that forks in a process of its own, where no threads are."""
    command = [sys.executable, "-m", "tests.faults", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_kill_is_survived():
    alone("kill9", "--n", "1", "--saves", "1")


def test_a_signal_is_survived():
    alone("signal", "--n", "1")


@pytest.mark.slow
def test_kills_and_signals_are_survived():
    alone("kill9", "--n", "5")
    alone("signal", "--n", "8")


@pytest.mark.slow
def test_a_full_disk_is_survived():
    if not diskfull_faults.possible():
        pytest.skip("no file system of our own here")
    alone("diskfull", "--n", "3")


@pytest.mark.slow
def test_every_continuation(capsys):
    assert main(["resume-matrix"]) == 0, capsys.readouterr().out
