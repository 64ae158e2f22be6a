"""The fault harness in short; its full results are in docs/reliability.md."""

import pytest

from tests.faults.__main__ import main, table


def test_env_faults_are_survived(capsys):
    assert main(["env", "--n", "6", "--timeout", "0.5"]) == 0
    text = capsys.readouterr().out
    assert text.count("| 1 | 1 | 0 | 0 |") == 6  # injected, survived, hung, corrupt, of six kinds


def test_the_exit_code_tells_what_was_not_survived(monkeypatch):
    from tests.faults import env_faults

    lost = {"detected": [], "recovered": [], "missed": []}
    monkeypatch.setattr(env_faults, "inject", lambda *_: lost)
    assert main(["env", "--n", "6"]) == 1


def test_a_row_shows_what_it_has():
    assert table([{"fault": "x", "injected": 3}]).splitlines()[-1].startswith("| x | 3 | - |")


@pytest.mark.slow
def test_kills_are_survived(capsys):
    assert main(["kill9", "--n", "3"]) == 0, capsys.readouterr().out
