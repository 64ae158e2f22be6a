"""A cost is split without changing what is split, and the parts add up to the whole."""

from __future__ import annotations

import time

import pytest
import torch

from dreamer_plugin.run.training import Training
from dreamer_plugin.study.phases import UPDATE, Place, clock, metered, update_places
from dreamer_plugin.study.workloads import find


class Work:
    """Callables that use up a number."""

    def __init__(self) -> None:
        self.used = 0.0
        self.replaced = self.inner

    def outer(self) -> str:
        self.used += 1
        self.inner()
        self.used += 2
        self.inner()
        self.replaced()
        return "done"

    def inner(self) -> None:
        self.used += 10

    def fails(self) -> None:
        self.used += 5
        raise KeyError


def test_what_an_inner_callable_uses_counts_for_it_alone() -> None:
    work = Work()
    places = [Place(work, "outer", "a"), Place(work, "inner", "b"), Place(work, "replaced", "c")]
    with metered(places, lambda: work.used) as meter:
        assert work.outer() == "done"
        assert meter.take() == {"a": 3, "b": 20, "c": 10}
        work.used += 100  # between two calls: nobody's
        work.inner()
        assert meter.take() == {"b": 10}


def test_everything_is_put_back_also_after_an_error() -> None:
    work = Work()
    before = work.replaced
    places = [Place(work, "replaced", "c"), Place(work, "fails", "d")]
    with pytest.raises(KeyError), metered(places, lambda: work.used) as meter:
        work.fails()
    assert meter.take() == {"d": 5}
    assert vars(work) == {"used": 5, "replaced": before}
    with pytest.raises(AttributeError), metered([*places, Place(work, "none", "e")], time.time):
        pass
    assert vars(work) == {"used": 5, "replaced": before}


def update(training: Training) -> None:
    training.update(training.parts.replay.sample())


@pytest.fixture(scope="module")
def training():
    workload = find("tiny")
    cfg = workload.config([], {"device": "cpu", "precision": "float32"})
    with workload.training(cfg) as made:
        for _ in range(3):
            update(made)
        yield made


def test_an_update_passes_through_every_phase(training: Training) -> None:
    with metered(update_places(training), clock(torch.device("cpu"))) as meter:
        update(training)
    assert set(meter.spent) == set(UPDATE)
    assert all(seconds > 0 for seconds in meter.spent.values())


def test_the_parts_add_up_to_an_update_that_is_not_metered(training: Training) -> None:
    """Within 10 %: in processor time, and of the quickest ones, for the machine may be busy.

    Where it was busy all the time, the quickest ones of more updates tell.
    """
    read = time.process_time
    whole, parts = [], []
    for made in range(120):
        if made >= 30 and min(parts) == pytest.approx(min(whole), rel=0.1):
            break
        started = read()
        update(training)
        whole.append(read() - started)
        with metered(update_places(training), read) as meter:
            update(training)
        parts.append(sum(meter.take().values()))
    assert min(parts) == pytest.approx(min(whole), rel=0.1)
