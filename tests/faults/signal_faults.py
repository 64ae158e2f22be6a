"""Signals to a training run at any moment: it saves, says so by its exit code, and can go on."""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path

from tests.faults import runs, small
from tests.faults.env_faults import seconds
from tests.faults.runs import Run

CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75}
PATIENCE = 120.0  # seconds until a run that was told to stop counts as hung


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--n", type=int, default=30, help="signals in all")
    parser.add_argument("--every", type=int, default=20, help="agent steps between saves")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cold", action="store_true", help="a new interpreter at each start")


def run(given: argparse.Namespace) -> list[dict]:
    """One row for each signal, one for two of them, one for what came of it all."""
    chance = random.Random(given.seed)
    steps = 80 * given.n
    found: dict[str, list] = {}
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder) / "whole", Path(folder) / "part"

        def start(target: Path) -> Run:
            processes = f"env.processes={str(chance.random() < 0.3).lower()}"
            return Run(runs.words(target, steps, given.every, processes), given.cold)

        began = time.monotonic()
        runs.finish(start(whole))
        pace = (time.monotonic() - began) / steps * given.every  # seconds between two saves
        for number in range(given.n):
            kind = (*CODES, None)[number % 4]
            process = start(part)
            _wait(process, part, runs.newest(part))
            time.sleep(pace * chance.random())
            if process.poll() is not None:
                break  # it came to its end before it was signalled often enough
            name = signal.Signals(kind).name if kind else "two signals"
            found.setdefault(name, []).append(_strike(process, part, kind))
        runs.finish(start(part))
        equal = small.same_end(whole, part) and number == given.n - 1
        left = runs.leftovers(part)
    rows = []
    for name, outcomes in found.items():
        good = [outcome["good"] for outcome in outcomes]
        lost = [outcome["lost"] for outcome in outcomes]
        rows.append(
            small.row(
                f"run: {name}",
                len(good),
                sum(good) if equal and not left else 0,
                hung=sum(outcome["hung"] for outcome in outcomes),
                lost=f"{statistics.fmean(lost):.1f} / {max(lost)}",
                detected=seconds([outcome["seconds"] for outcome in outcomes]),
                equal="yes" if equal else "no",
            )
        )
    return rows


def _wait(process: Run, folder: Path, before: int) -> None:
    while runs.newest(folder) <= before and process.poll() is None:
        time.sleep(0.002)


def _strike(process: Run, folder: Path, kind: signal.Signals | None) -> dict:
    """Signal a run and see how it ends."""
    began = time.monotonic()
    process.signal(kind or signal.SIGTERM)
    if kind is None:
        time.sleep(0.1)  # two at a time are one
        if process.poll() is None:
            process.signal(signal.SIGTERM)
            began = time.monotonic()
    code = process.wait(PATIENCE)
    taken = time.monotonic() - began
    expected = {CODES[kind]} if kind else {-signal.SIGTERM, 75}
    lost = max(runs.last_step(folder) - runs.newest(folder), 0)
    time.sleep(0.05)
    return {
        "good": code in expected and (kind is None or lost == 0) and not _orphans(process),
        "hung": code is None,
        "lost": lost,
        "seconds": taken,
    }


def _orphans(process: Run) -> list[int]:
    """What is left after ten seconds: a fork server ends when it notices, late where much runs."""
    end = time.monotonic() + 10
    while left := process.orphans():
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    return left
