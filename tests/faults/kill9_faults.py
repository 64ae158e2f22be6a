"""Kills of a training run: after each it is resumed; at the end it must equal one never stopped."""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from tests.faults import runs
from tests.faults.runs import Run


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--n", type=int, default=50, help="kills")
    parser.add_argument("--saves", type=float, default=0.4, help="share of kills during a save")
    parser.add_argument("--steps", type=int, default=0, help="of the run; 0: 60 for each kill")
    parser.add_argument("--every", type=int, default=20, help="agent steps between saves")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cold", action="store_true", help="a new interpreter at each start")


def run(given: argparse.Namespace) -> list[dict]:
    """One row."""
    chance = random.Random(given.seed)
    steps = given.steps or 60 * given.n
    lost, during, back = [], 0, []
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder) / "whole", Path(folder) / "part"

        def start(target: Path) -> Run:
            return Run(runs.words(target, steps, given.every), given.cold)

        began = time.monotonic()
        runs.finish(start(whole))
        pace = (time.monotonic() - began) / steps * given.every  # seconds between two saves
        while len(lost) < given.n:
            process = start(part)
            before = runs.newest(part)
            back.append(wait_for_progress(process, part, before))
            if process.poll() is not None:
                break  # it came to its end before it was killed often enough
            if chance.random() < given.saves:
                during += wait_for_save(process, part)
            else:
                time.sleep(pace * chance.random())
            if process.poll() is not None:
                break
            reached = runs.last_step(part)
            process.kill()
            lost.append(max(reached - runs.newest(part), 0))
        runs.finish(start(part))
        same = runs.tensors(whole, steps) == runs.tensors(part, steps)
        rows, expected = runs.log(part), runs.log(whole)
        left = runs.leftovers(part)
    print(f"{during} of {len(lost)} kills while a checkpoint was written; left over: {left}")
    equal = same and rows == expected
    return [
        {
            "fault": f"run: kill -9 ({during} during a save)",
            "injected": len(lost),
            "survived": len(lost) if equal else 0,
            "hung": 0,
            "silently corrupt": int(not same) + int(rows != expected),
            "steps lost, mean/max": f"{statistics.fmean(lost or [0]):.1f} / {max(lost or [0])}",
            "recovered after, mean/max": f"{statistics.fmean(back):.2f} / {max(back):.2f} s",
            "bit-equal": "yes" if same else "no",
            "good": equal and len(lost) >= given.n and not left and max(lost) < 2 * given.every,
        }
    ]


def wait_for_progress(process: Run, folder: Path, before: int) -> float:
    """Until a checkpoint is newer than at the start, or the run has ended; seconds."""
    began = time.monotonic()
    while runs.newest(folder) <= before and process.poll() is None:
        time.sleep(0.002)
    return time.monotonic() - began


def wait_for_save(process: Run, folder: Path) -> int:
    """Until a checkpoint is being written; whether one was."""
    while process.poll() is None:
        if any((folder / "checkpoints").glob(".tmp-step-*")):
            return 1
        time.sleep(0.0002)
    return 0
