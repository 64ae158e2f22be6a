"""Splitting the cost of a call among the callables it goes through, without changing their code.

    update  |----- sample -----|-- losses ------------------------------|-- step --|
                               |  | observe -------------| ...          |
                               |  |       | encode |     |

Attributes of objects are replaced by timed forms while it lasts. What a callable spends inside
another one that is timed counts for the inner one, so the parts add up to the whole.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from dreamer_plugin.run.training import Training

UPDATE = (
    "sample",
    "transfer",
    "encode",
    "observe",
    "heads",
    "imagine",
    "returns",
    "backward",
    "optimiser",
    "write_back",
    "other",
)


class Place(NamedTuple):
    """A callable, as an attribute of an object, and the phase it counts for."""

    owner: Any
    name: str
    phase: str


def update_places(training: Training) -> list[Place]:
    """Where the phases of `Training.update` are; see `agent_places` for the larger part."""
    replay = training.parts.replay
    return [
        Place(training, "update", "transfer"),  # beside what follows: the batch to the device
        Place(replay, "sample", "sample"),
        *agent_places(training.parts.agent),
        Place(replay, "write_back", "write_back"),
    ]


def agent_places(agent: Any) -> list[Place]:
    """Where the phases of `Agent.update` are.

    `other` is the noise, the context column, metrics and the sum of the losses.
    """
    world, behavior = agent.world, agent.behavior
    return [
        Place(agent, "update", "backward"),  # beside what follows
        Place(agent, "unroll_context", "other"),
        Place(agent, "losses", "other"),
        Place(world, "observe", "observe"),
        Place(world, "encode", "encode"),
        Place(world, "losses", "heads"),
        Place(agent, "dream", "imagine"),
        Place(behavior, "losses", "returns"),
        Place(agent.optimizer, "zero_grad", "optimiser"),
        Place(agent.optimizer, "step", "optimiser"),
        Place(behavior, "follow", "optimiser"),
        Place(agent, "latents", "write_back"),
    ]


class Meter:
    """Adds up what each phase takes of something that only grows, such as time.

    Args:
        read: its value now.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._open: list[str] = []
        self._since = 0.0
        self.spent: dict[str, float] = {}

    def wrap(self, call: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """The same callable, its cost counted for a phase."""

        @functools.wraps(call)
        def counted(*args: Any, **options: Any) -> Any:
            self._settle()
            self._open.append(phase)
            try:
                return call(*args, **options)
            finally:
                self._settle()
                self._open.pop()

        return counted

    def take(self) -> dict[str, float]:
        """What was spent since the last call."""
        spent, self.spent = self.spent, {}
        return spent

    def _settle(self) -> None:
        """Give what was used since the last change to the innermost phase."""
        now = self._read()
        if self._open:
            phase = self._open[-1]
            self.spent[phase] = self.spent.get(phase, 0.0) + now - self._since
        self._since = now


@contextmanager
def metered(places: Iterable[Place], read: Callable[[], float]) -> Iterator[Meter]:
    """A meter on these places as long as the context is open."""
    meter, undo = Meter(read), []
    try:
        for owner, name, phase in places:
            counted = meter.wrap(getattr(owner, name), phase)
            undo.append((owner, name, vars(owner).get(name)))
            setattr(owner, name, counted)
        yield meter
    finally:
        for owner, name, before in reversed(undo):
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds, read when the device has done all it was told."""

    def read() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return read
