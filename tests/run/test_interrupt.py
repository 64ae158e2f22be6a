"""Signals to a real run and all its env processes, and what is left after it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dreamer_plugin.run import checkpoint

TINY = Path(__file__).parent / "tiny.yaml"


def wait_for(path, process):
    for _ in range(1800):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    pytest.fail(f"{path} did not appear within 180 s")


def group_of(process):
    """Live processes of the group that `process` leads, itself not counted."""
    listing = subprocess.run(["ps", "-eo", "pid,pgid"], capture_output=True, text=True).stdout
    rows = [line.split() for line in listing.splitlines()[1:]]
    return [int(pid) for pid, group in rows if int(group) == process.pid and pid != group]


# The group is signalled as a terminal does for Ctrl-C, and `timeout` and batch systems for TERM.
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_saves_says_how_to_resume_and_leaves_no_process(tmp_path, number, code):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "dreamer_plugin", "train", "--env", "gym/CartPole-v1"]
    command += ["--config", str(TINY), "--logdir", str(run), "--steps", "100000"]
    process = subprocess.Popen(
        [*command, "env.processes=true"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for(run / "checkpoints" / "step-000000040", process)
    assert group_of(process)  # the fork server and the workers
    os.killpg(process.pid, number)  # to the workers too
    output, _ = process.communicate(timeout=180)
    assert process.returncode == code
    assert "Traceback" not in output and f"--resume {run}" in output
    latest = checkpoint.newest(run / "checkpoints")
    assert checkpoint.verify(latest)["step"] >= 40
    for _ in range(50):  # the fork server ends when it notices
        if not group_of(process):
            break
        time.sleep(0.1)
    assert not group_of(process)
