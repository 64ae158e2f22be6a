"""Numbers in losses and gradients that are not finite: left out, gone back from, or the end."""

from __future__ import annotations

import argparse
import dataclasses
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dreamer_plugin.agent import Agent
from dreamer_plugin.errors import NotFiniteError
from dreamer_plugin.run import checkpoint
from tests.faults import small
from tests.faults.env_faults import seconds

STEPS = 100  # of a run; updates begin at 28


class _Poison(torch.autograd.Function):
    """Passes a loss, and spoils its gradient."""

    @staticmethod
    def forward(ctx, loss, factor):
        ctx.factor = factor
        return loss.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factor, None


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--n", type=int, default=20, help="runs of each kind")
    parser.add_argument("--seed", type=int, default=0)


def run(given: argparse.Namespace) -> list[dict]:
    """One row for each kind."""
    chance = random.Random(given.seed)
    kinds = {
        "one loss": (_once, False, False, False),
        "one gradient": (_once, True, False, False),
        "until it goes back": (_until_back, False, True, False),
        "for ever": (_for_ever, False, True, True),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (when, gradient, back, ends) in kinds.items():
            survived, times = 0, []
            for number in range(given.n):
                began = time.perf_counter()
                place = Path(folder) / f"{name.replace(' ', '-')}-{number}"
                survived += _survived(place, when(chance), gradient, chance, back, ends)
                times.append(time.perf_counter() - began)
            text = f"not finite: {name}"
            rows.append(small.row(text, given.n, survived, recovered=seconds(times)))
    return rows


def _once(chance: random.Random) -> Callable[[int, int], bool]:
    bad = {chance.randrange(1, 19) for _ in range(3)}
    return lambda tried, updates: tried in bad


def _until_back(chance: random.Random) -> Callable[[int, int], bool]:
    first = chance.randrange(6, 16)
    left = [4]

    def bad(tried: int, updates: int) -> bool:
        spoilt = updates >= first and left[0] > 0
        left[0] -= spoilt
        return spoilt

    return bad


def _for_ever(chance: random.Random) -> Callable[[int, int], bool]:
    first = chance.randrange(6, 16)
    return lambda tried, updates: updates >= first


@contextmanager
def _poisoned(bad: Callable[[int, int], bool], gradient: bool, value: float) -> Iterator[None]:
    whole, tried = Agent.losses, [0]

    def losses(agent, *given, **words):
        found = whole(agent, *given, **words)
        tried[0] += 1
        if not bad(tried[0], agent.updates):
            return found
        total = _Poison.apply(found.total, value) if gradient else found.total * value
        return dataclasses.replace(found, total=total)

    Agent.losses = losses
    try:
        yield
    finally:
        Agent.losses = whole


def _survived(
    folder: Path,
    bad: Callable[[int, int], bool],
    gradient: bool,
    chance: random.Random,
    back: bool,
    ends: bool,
) -> bool:
    """Whether a run ends as it should, with checkpoints that are finite and can be gone on from.

    One that comes to its end must have left updates out, and gone back only where it should.
    """
    value = chance.choice([float("nan"), float("inf"), -float("inf")])
    with _poisoned(bad, gradient, value):
        try:
            result = small.small_run(folder, run__steps=STEPS)
            right = not ends and result.steps == STEPS
        except NotFiniteError as error:
            right = ends and error.exit_code == 3 and (folder / "run" / "not-finite.json").is_file()
    found = [path for _, path in checkpoint.steps(folder / "run" / "checkpoints")]
    right = right and bool(found) and all(map(_finite, found))
    if right and not ends:
        met = checkpoint.read(found[0], ["loop"])["loop"]["numerics"]
        right = met["total"] > 0 and bool(met["rolled_back"]) == back
    if right and ends:
        right = small.small_run(folder, resume=folder / "run", run__steps=STEPS).steps == STEPS
    return right


def _finite(path: Path) -> bool:
    tree = checkpoint.read(path, ["agent", "replay"])
    values = [*tree["agent"].values(), *tree["replay"]["storage"].values()]
    floats = [v for v in values if isinstance(v, torch.Tensor) and v.is_floating_point()]
    return all(bool(value.isfinite().all()) for value in floats)
