"""All kinds, and those that wait for a part of the package."""

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

# Kinds whose part of the package is not built yet, and what builds it. They are reported as
# pending; whoever builds the part moves its name into KINDS.
PENDING: dict[str, str] = {
    "minecraft_logic": "the Minecraft environment suite",
}


def kind_of(stem: str) -> str | None:
    """Longest known kind that a file's name is or begins with."""
    known = [k for k in (*KINDS, *PENDING) if stem == k or stem.startswith(k + "_")]
    return max(known, key=len, default=None)
