"""One implementation in a process of its own: what it is asked, and how it answers.

A worker is started as `python peer_NAME.py JOB`, JOB being a JSON object (see `Job`). It builds the
agent and one batch, says so, and then makes one update for every line it is sent:

    side_by_side.py                 worker
                                    {"ready": {"version": "0.14.1", ...}}
    {"do": "update"}                {"seconds": 0.52, "peak_rss": 1200000000}
    {"do": "quit"}                  leaves

Everything else that a library prints goes to standard error. This file needs NumPy alone, for the
workers run in the environments of their libraries.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Update = Callable[[], Any]


@dataclass
class Job:
    """What to build.

    Args:
        workload: name of the workload. size: of the agent, such as `1m`.
        precision: `float32` or `bfloat16`. device: `cpu` or `cuda`.
        folder: checkout of the implementation, empty for an installed package.
        options: words after a `+`, such as `compile`.
        threads: cores to use, 0 for all.
        image: whether a frame is an image `[64, 64, 3]`, else a vector `[24]`.
        rows, length, horizon, actions: B, T, H, A.
        deter, hidden, units, depth, groups, classes, blocks: widths of the agent.
    """

    workload: str
    size: str
    precision: str
    device: str
    folder: str
    options: list[str] = field(default_factory=list)
    threads: int = 0
    image: bool = False
    rows: int = 16
    length: int = 64
    horizon: int = 15
    actions: int = 6
    deter: int = 512
    hidden: int = 64
    units: int = 64
    depth: int = 4
    groups: int = 32
    classes: int = 4
    blocks: int = 8

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """Shape of one frame."""
        return (64, 64, 3) if self.image else (24,)

    @property
    def obs_key(self) -> str:
        """What other implementations call it."""
        return "image" if self.image else "vector"

    def only(self, *known: str) -> None:
        """Refuse options that the adapter does not know.

        Raises:
            ValueError: naming those that it knows.
        """
        odd = set(self.options) - set(known)
        if odd:
            raise ValueError(f"options {sorted(odd)} are not among {sorted(known)}")


class Peer(NamedTuple):
    """A built implementation.

    Args:
        update: makes one whole update and returns when the device has finished it.
        version: of the implementation.
        differs: how its update differs from ours, in a few words.
        tried: where this adapter was run, or that it never was.
    """

    update: Update
    version: str
    differs: str = ""
    tried: str = ""


def noise(job: Job) -> dict[str, np.ndarray]:
    """A batch of records `[B, 1+T]`; column 0 is the context.

    Returns:
        obs, action in [-1, 1], reward, is_first, is_last, is_terminal, deter, stoch (classes).
    """
    rng = np.random.default_rng(0)
    shape = (job.rows, job.length + 1)
    if job.image:
        obs = rng.integers(0, 256, (*shape, *job.obs_shape), np.uint8)
    else:
        obs = rng.standard_normal((*shape, *job.obs_shape), np.float32)
    first = rng.random(shape) < 1 / 200
    first[:, 0] = False
    last = np.zeros(shape, bool)
    last[:, :-1] = first[:, 1:]
    return {
        "obs": obs,
        "action": rng.uniform(-1, 1, (*shape, job.actions)).astype(np.float32),
        "reward": rng.standard_normal(shape, np.float32),
        "is_first": first,
        "is_last": last,
        "is_terminal": np.zeros(shape, bool),
        "deter": np.tanh(rng.standard_normal((*shape, job.deter), np.float32)),
        "stoch": rng.integers(0, job.classes, (*shape, job.groups)),
    }


def tried(job: Job, where: str, compiled: bool = False) -> str:
    """What to say of an adapter that ran on a CPU, `compiled` or not: what was never tried."""
    never = [] if job.device == "cpu" else ["on a GPU"]
    never += ["compiled"] if "compile" in job.options and not compiled else []
    return f"tried on a CPU with {where}" + (f", never {' or '.join(never)}" if never else "")


def waiting(update: Update, device: str) -> Update:
    """The same PyTorch update; returns when a GPU has finished it."""
    import torch

    def whole() -> None:
        update()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return whole


def peak_rss() -> int:
    """Most bytes of memory this process has had, its library's own and what it compiled included.

    0 where the system does not tell.
    """
    if not sys.platform.startswith("linux"):
        return 0
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def serve(build: Callable[[Job], Peer]) -> None:
    """Answer until told to quit; see the head of this file."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = Job(**json.loads(sys.argv[1]))
    if job.threads and hasattr(os, "sched_setaffinity"):  # before a library counts the cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    try:
        peer = build(job)
        ready = {"version": peer.version, "differs": peer.differs, "tried": peer.tried}
        answers.write(json.dumps({"ready": ready}) + "\n")
        for line in sys.stdin:
            if json.loads(line)["do"] != "update":
                break
            started = time.perf_counter()
            peer.update()
            seconds = time.perf_counter() - started
            answers.write(json.dumps({"seconds": seconds, "peak_rss": peak_rss()}) + "\n")
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())[:300]
        answers.write(json.dumps({"error": f"{type(error).__name__}: {text}"}) + "\n")
        sys.exit(1)
