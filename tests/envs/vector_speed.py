"""Steps per second of our vectors, beside Gymnasium's `AsyncVectorEnv` around the same envs.

    python -m tests.envs.vector_speed [ID ...] [--envs 8] [--seconds 0.7] [--rounds 7]

Every vector of an id is made first; then they take turns, and the median and the best round of
each are told, as the line of a table. A frame of a reset counts as a step on every side. An id of
a suite with a pool (EnvPool) is also stepped by it, and by the library alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np

import dreamer_envs
from dreamer_envs.spec import load
from dreamer_envs.vector import PoolVector, SerialVector, SupervisedVector, VectorEnv, pool_of

IDS = ["gym/CartPole-v1", "atari/Pong", "dmc/walker-walk"]
DRAWN = 64  # calls whose actions are drawn before
COLUMNS = ("pool", "the library alone", "one by one", "supervised", "AsyncVectorEnv")

Steps = Iterator[int]


def of_vector(vector: VectorEnv) -> Steps:
    """One of ours under random actions; yields the envs stepped by each call."""
    drawn = [[vector.action_space.sample() for _ in vector.ids] for _ in range(DRAWN)]
    reset = np.ones(vector.num_envs, np.bool_)
    while True:
        for actions in drawn:
            reset = vector.step(actions, reset).is_last
            yield vector.num_envs


def of_gymnasium(vector: gym.vector.VectorEnv[Any, Any, Any]) -> Steps:
    """Gymnasium's, which resets by itself."""
    drawn = [vector.action_space.sample() for _ in range(DRAWN)]
    vector.reset(seed=0)
    while True:
        for actions in drawn:
            vector.step(actions)
            yield vector.num_envs


def of_pool(pool: Any, count: int) -> Steps:
    """The library, called as the pool calls it, and nothing done with what it answers."""
    ids = np.arange(count, dtype=np.int32)
    kind = pool.action_space.dtype
    drawn = [np.stack([pool.action_space.sample() for _ in ids]).astype(kind) for _ in range(DRAWN)]
    pool.reset(ids)
    while True:
        for actions in drawn:
            pool.step(actions, ids)
            yield count


def sides(id: str, count: int, stack: ExitStack) -> dict[str, Steps]:
    """Steppers by column."""
    makers = [dreamer_envs.maker(id)] * count
    found: dict[str, Steps] = {}
    shared = pool_of(makers)
    if shared is not None and shared.suite.pool is not None:
        found["pool"] = of_vector(stack.enter_context(PoolVector(makers)))
        pool = load(shared.suite.pool)(shared.task, list(range(count)), **shared.options)
        stack.callback(pool.close)
        found["the library alone"] = of_pool(pool, count)
    kinds: tuple[tuple[str, Callable[..., VectorEnv]], ...]
    kinds = (("one by one", SerialVector), ("supervised", SupervisedVector))
    for name, kind in kinds:
        found[name] = of_vector(stack.enter_context(kind(makers)))
    theirs = gym.vector.AsyncVectorEnv(makers, shared_memory=True)
    stack.callback(theirs.close)
    found["AsyncVectorEnv"] = of_gymnasium(theirs)
    return found


def rate(steps: Steps, seconds: float) -> float:
    """Steps per second of real time."""
    began, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        done += next(steps)
    return done / passed


def line(id: str, count: int, seconds: float, rounds: int) -> str:
    """Row of the table: medians, and the best in brackets."""
    with ExitStack() as stack:
        steppers = sides(id, count, stack)
        for stepper in steppers.values():
            rate(stepper, 0.2)  # what is slow the first time
        turns = [[rate(each, seconds) for each in steppers.values()] for _ in range(rounds)]
    rates = dict(zip(steppers, zip(*turns, strict=True), strict=True))
    cells = [
        f"{statistics.median(rates[name]):,.0f} ({max(rates[name]):,.0f})" if name in rates else "-"
        for name in COLUMNS
    ]
    return f"| `{id}` | {count} | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", default=IDS)
    parser.add_argument("--envs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    print(
        f"| envs | number | {' | '.join(COLUMNS)} |\n{'| --- ' * (2 + len(COLUMNS))}|", flush=True
    )
    for id in asked.ids:
        print(line(id, asked.envs, asked.seconds, asked.rounds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
