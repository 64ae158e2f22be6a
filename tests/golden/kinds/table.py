"""All kinds."""

from __future__ import annotations

from collections.abc import Callable

from ..reading import Golden
from . import behavior, elementary, envs, heads, layers, replay, training, world

KINDS: dict[str, Callable[[Golden], None]] = {
    **elementary.KINDS,
    **layers.KINDS,
    **heads.KINDS,
    **world.KINDS,
    **behavior.KINDS,
    **training.KINDS,
    **replay.KINDS,
    **envs.KINDS,
}


def kind_of(stem: str) -> str | None:
    """Longest known kind that a file's name is or begins with."""
    known = [k for k in KINDS if stem == k or stem.startswith(k + "_")]
    return max(known, key=len, default=None)
