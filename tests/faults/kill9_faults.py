"""Kills of a training run: after each it is resumed; at the end it must equal one never stopped."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TINY = Path(__file__).parent.parent / "run" / "tiny.yaml"
TEMPORARY = (".tmp-*", ".old-*")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--n", type=int, default=50, help="kills")
    parser.add_argument("--saves", type=float, default=0.3, help="share of kills during a save")
    parser.add_argument("--steps", type=int, default=0, help="of the run; 0: 40 for each kill")
    parser.add_argument("--every", type=int, default=20, help="agent steps between saves")
    parser.add_argument("--seed", type=int, default=0)


def run(given: argparse.Namespace) -> list[dict]:
    """One row."""
    chance = random.Random(given.seed)
    steps = given.steps or 40 * given.n
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder) / "whole", Path(folder) / "part"
        finish(start(whole, steps, given.every))
        lost, during, back = [], 0, []
        while len(lost) < given.n:
            process = start(part, steps, given.every)
            before = newest(part)
            seen = wait_for_progress(process, part, before)
            back.append(seen)
            if process.poll() is not None:
                break  # it came to its end before it was killed often enough
            if chance.random() < given.saves:
                during += wait_for_save(process, part)
            else:
                time.sleep(chance.random())
            reached = last_step(part)
            kill(process)
            lost.append(max(reached - newest(part), 0))
        finish(start(part, steps, given.every))
        same = tensors(whole, steps) == tensors(part, steps)
        rows, expected = log(part), log(whole)
        left = [str(path) for mask in TEMPORARY for path in part.rglob(mask)]
    print(f"{during} of {len(lost)} kills while a checkpoint was written; left over: {left}")
    good = same and rows == expected and len(lost) >= given.n and not left
    return [
        {
            "fault": "run: kill -9",
            "injected": len(lost),
            "survived": len(lost) if same else 0,
            "hung": 0,
            "silently corrupt": int(not same) + int(rows != expected),
            "steps lost, mean/max": f"{statistics.fmean(lost or [0]):.1f} / {max(lost or [0])}",
            "recovered after, mean/max": f"{statistics.fmean(back):.1f} / {max(back):.1f} s",
            "bit-equal": "yes" if same else "no",
            "good": good,
        }
    ]


def start(folder: Path, steps: int, every: int) -> subprocess.Popen:
    """The run, fresh or resumed, with its output thrown away."""
    command = [sys.executable, "-m", "dreamer_plugin", "train", "--env", "gym/CartPole-v1"]
    command += ["--config", str(TINY), "--logdir", str(folder), "--steps", str(steps)]
    command += ["--resume", "auto", f"run.save_every={every}", "run.log_every=20", "seed=3"]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen) -> None:
    """Wait for the end of a run that nobody kills."""
    code = process.wait()
    if code:
        raise RuntimeError(f"the run ended with exit code {code}")


def kill(process: subprocess.Popen) -> None:
    """End a run and all of its group, as a machine that loses power would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def newest(folder: Path) -> int:
    """Step of the newest checkpoint that was published; 0 without one."""
    found = (folder / "checkpoints").glob("step-*/manifest.json")
    return max((int(path.parent.name.split("-")[1]) for path in found), default=0)


def last_step(folder: Path) -> int:
    """The last step that was logged."""
    return max((row["step"] for row in log(folder)), default=0)


def log(folder: Path) -> list[dict]:
    """Rows of the log without times; one that is being written is left out."""
    path = folder / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def wait_for_progress(process: subprocess.Popen, folder: Path, before: int) -> float:
    """Until a checkpoint is newer than at the start, or the run has ended; seconds."""
    began = time.monotonic()
    while newest(folder) <= before and process.poll() is None:
        time.sleep(0.01)
    return time.monotonic() - began


def wait_for_save(process: subprocess.Popen, folder: Path) -> int:
    """Until a checkpoint is being written; whether one was."""
    while process.poll() is None:
        if any((folder / "checkpoints").glob(".tmp-*")):
            return 1
        time.sleep(0.0005)
    return 0


def tensors(folder: Path, step: int) -> dict[str, str]:
    """Hashes of all tensor files of a checkpoint."""
    manifest = folder / "checkpoints" / f"step-{step:09d}" / "manifest.json"
    files = json.loads(manifest.read_text())["files"]
    return {name: facts["sha256"] for name, facts in files.items() if "safetensors" in name}
