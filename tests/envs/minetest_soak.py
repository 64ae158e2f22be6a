"""Plays Minetest at random for as long as it is told, and looks for leaks, stalls and orphans.

    python -m tests.envs.minetest_soak --minutes 120 [--task treechop] [--length 200] [--report 5]

Every few minutes a line: steps, episodes, steps per second, the longest step and the longest reset,
memory of this process and of each program, open files; at the end a line of the whole. A failure is
told, leaves its stretch out of the count, and the game starts anew. SIGTERM and Ctrl-C end it early
with the same report. Exits with 1 if anything failed or is left. Needs Debian's packages and the
extra `minetest`.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

import dreamer_envs
from dreamer_envs.errors import EnvError
from dreamer_envs.minetest.game import PROGRAMS

MEGABYTE = 2**20
stop = threading.Event()  # set by a signal; a step in progress ends first


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--task", default="treechop")
    parser.add_argument("--length", type=int, default=200, help="steps of an episode")
    parser.add_argument("--report", type=float, default=5.0, help="minutes between two lines")
    parser.add_argument("--patience", type=float, default=25.0, help="seconds of a step at most")
    asked = parser.parse_args()
    id = f"minetest/{asked.task}"
    env = dreamer_envs.make(id, length=asked.length, patience=asked.patience)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    print(HEAD, flush=True)
    total, ours = [0, 0, 0.0], set[int]()  # other games of this machine do not count
    began = time.monotonic()
    end = began + 60 * asked.minutes
    failures = 0
    while time.monotonic() < end and not stop.is_set():
        until = min(end, time.monotonic() + 60 * asked.report)
        try:
            part = stretch(env, until)
        except EnvError as error:  # the next reset starts the game anew
            failures += 1
            print(f"failed in minute {(time.monotonic() - BEGAN) / 60:.1f}: {error}", flush=True)
            continue
        total = [a + b for a, b in zip(total, part[:3], strict=True)]
        ours |= {number for number in game_processes() if is_under(number, os.getpid())}
        print(line(*part, ours), flush=True)
    minutes = (time.monotonic() - began) / 60
    env.close()
    steps, episodes, seconds = total
    speed = f"{steps / max(seconds, 1e-9):.1f} steps/s"
    print(
        f"{minutes:.1f} minutes, {steps} steps, {episodes} episodes, {speed}, {failures} failures"
    )
    left = game_processes() & ours
    print(f"left behind: {len(left)} processes", flush=True)
    return int(bool(left or failures))


def stretch(env, until: float) -> tuple[int, int, float, float, float, float]:
    """Random play: steps, episodes, seconds, longest step and reset in seconds, rewards."""
    rng = np.random.default_rng()
    began = time.monotonic()
    steps = episodes = 0
    slowest = slowest_reset = earned = 0.0
    over = True
    while time.monotonic() < until and not stop.is_set():
        tick = time.monotonic()
        if over:
            env.reset()
            episodes += 1
            over = False
            slowest_reset = max(slowest_reset, time.monotonic() - tick)
        else:
            _, reward, _, over, _ = env.step(rng.integers(env.action_space.n))
            steps += 1
            earned += reward
            slowest = max(slowest, time.monotonic() - tick)
    return steps, episodes, time.monotonic() - began, slowest, slowest_reset, earned


HEAD = (
    "| minute | steps | episodes | steps/s | longest step, s | longest reset, s | rewards "
    "| files | python | " + " | ".join(PROGRAMS) + " |"
)
BEGAN = time.monotonic()


def line(steps, episodes, seconds, slowest, slowest_reset, earned, ours) -> str:
    """One line of the report; memory in MiB."""
    held = {name: 0.0 for name in PROGRAMS}
    for number in game_processes() & ours:
        held[name_of(number)] += resident(number)
    numbers = [
        f"{(time.monotonic() - BEGAN) / 60:.0f}", steps, episodes, f"{steps / seconds:.1f}",
        f"{slowest:.2f}", f"{slowest_reset:.1f}", f"{earned:g}",
        len(os.listdir("/proc/self/fd")), f"{resident(os.getpid()):.0f}",
        *(f"{megabytes:.0f}" for megabytes in held.values()),
    ]  # fmt: skip
    return "| " + " | ".join(map(str, numbers)) + " |"


def game_processes() -> set[int]:
    """Processes of this machine that are one of the game's programs."""
    return {int(p.name) for p in Path("/proc").glob("[0-9]*") if name_of(int(p.name)) in PROGRAMS}


def is_under(number: int, ancestor: int) -> bool:
    """Whether a process was started by another, or by one of its children."""
    while number > 1 and number != ancestor:
        try:
            number = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            return False
    return number == ancestor


def name_of(number: int) -> str:
    try:
        argv = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except OSError:  # it has just ended
        return ""
    return Path(argv[0].decode(errors="replace")).name


def resident(number: int) -> float:
    """Memory of a process in MiB."""
    try:
        pages = int(Path(f"/proc/{number}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / MEGABYTE


if __name__ == "__main__":
    sys.exit(main())
