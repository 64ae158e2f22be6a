"""Torch's threads spin between kernels on a free machine, and sleep on a busy one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dreamer_plugin.doors.idle_threads import SETTINGS, let_threads_sleep_if_busy, running_beside

CORES = os.cpu_count()


@pytest.fixture
def loadavg(tmp_path):
    """A function that writes how many threads run, this one among them, as Linux does."""
    path = tmp_path / "loadavg"

    def write(running):
        path.write_text(f"9.99 9.99 9.99 {running}/300 12345\n")
        return path

    return write


def test_a_free_machine_keeps_the_default(loadavg):
    environ = {}
    let_threads_sleep_if_busy(environ, loadavg(1))  # this process alone, whatever ran a minute ago
    assert environ == {}


@pytest.mark.parametrize("others", [(CORES + 1) // 2, 3 * CORES])
def test_threads_sleep_where_others_take_half_of_the_processors(loadavg, others):
    environ = {}
    let_threads_sleep_if_busy(environ, loadavg(1 + others))
    assert environ == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_the_user_said_stands(loadavg, name):
    environ = {name: "said"}
    let_threads_sleep_if_busy(environ, loadavg(1 + 3 * CORES))
    assert environ == {name: "said"}


def test_a_system_that_does_not_tell_its_load_keeps_the_default(tmp_path):
    environ = {}
    let_threads_sleep_if_busy(environ, tmp_path / "missing")
    assert environ == {}


@pytest.mark.skipif(not os.path.exists("/proc/loadavg"), reason="the system tells no load")
def test_programs_that_compute_are_seen():
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(CORES)]
    try:
        # Others may stop meanwhile; these do not, and half of them is what counts.
        assert running_beside(Path("/proc/loadavg")) >= CORES / 2
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
