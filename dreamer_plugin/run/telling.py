"""How far long work is, told to whoever listens; nobody does unless a door asks to.

with heard_by(show):        a door
    ...
    tell("episodes", 3, 20)     anywhere below
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Tell = Callable[[str, float, float], None]
Item = TypeVar("Item")
_listener: ContextVar[Tell | None] = ContextVar("listener", default=None)


def tell(what: str, done: float, total: float) -> None:
    """Say how far something is.

    Args:
        what: is done, a few words. done, total: how much of how much; a total of 0 is unknown.
    """
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total)


def counted(what: str, items: Sequence[Item]) -> Iterator[Item]:
    """The items one by one, telling how many of them are done, and at the end that all are."""
    for number, item in enumerate(items):
        tell(what, number, len(items))
        yield item
    tell(what, len(items), len(items))


@contextmanager
def heard_by(listener: Tell) -> Iterator[None]:
    """Whoever hears what is told inside."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def part_of(whole: str, number: int, count: int, name: str) -> Iterator[None]:
    """What is told of `name` inside is told of the whole too, of which it is one part of many.

    Args:
        whole: what it is a part of. number, count: parts before it, and in all. name: of it.
    """
    outer = _listener.get()
    if outer is None:
        yield
        return

    def both(what: str, done: float, total: float) -> None:
        if what == name and total:
            outer(whole, number + min(done / total, 1), count)
        outer(what, done, total)

    with heard_by(both):
        yield
