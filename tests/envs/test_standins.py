"""Suites whose simulators do not run here: their real Python classes, against stand-ins."""

from __future__ import annotations

import subprocess

import pytest

from tests.envs import matrix, standins


@pytest.mark.slow
@pytest.mark.parametrize("suite", sorted(standins.STEPPERS))
def test_a_suite_is_stepped_against_its_stand_in(suite, tmp_path):
    try:
        with matrix.deadline(matrix.LIMIT):
            found = standins.STEPPERS[suite](tmp_path)
    except standins.NotInstalled as error:
        pytest.skip(f"the packages of {suite} do not install here: {error}")
    assert found["steps"] == matrix.STEPS and found["standin"]
    assert {"ours", "gymnasium"} <= set(found["checks"])


def test_packages_that_do_not_install_are_told_from_tests_that_fail(monkeypatch, tmp_path):
    def fails(command, env=None):
        raise subprocess.CalledProcessError(1, command, "", "looking\nERROR: no network\n")

    monkeypatch.setattr(matrix, "ran", fails)
    (tmp_path / "unity").mkdir()
    with pytest.raises(standins.NotInstalled, match=r"^ERROR: no network$"):
        standins.unity(tmp_path)
    assert not (tmp_path / "unity").exists()
