"""A replay some of whose segments were lost: copies of others take their place.

    stream of an env   [0 1 2 3] [- - - -] [8 9 ...]        segment 1 was lost
    mended             [0 1 2 3] [0 1 2 3] [8 9 ...]
    is_first            1         1         1               nothing leads across the seams

Streams have no holes: windows are counted from record to record. What is drawn there was
experienced, and is drawn twice as often as the rest; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from dreamer_plugin import keys
from dreamer_plugin.errors import CheckpointError


def mend(storage: Mapping[str, Any], lost: Iterable[str]) -> tuple[dict[str, Any], set[str]]:
    """Replace lost segments by copies of whole ones.

    Args:
        storage: state of the storage, its values by `env/number/field`; the records of lost
            segments are not there.
        lost: these segments, as `env/number`.

    Returns:
        The state without holes, and the segments whose records are not those written before.

    Raises:
        CheckpointError: when nothing is left to copy.
    """
    state, missing = dict(storage), sorted(lost, key=_place)
    length = int(state["segment"])
    whole = [
        name
        for name in sorted({_segment(key) for key in state if key.count("/") > 1}, key=_place)
        if name not in missing and f"{name}/{keys.IS_FIRST}" in state
    ]
    if not whole:
        raise CheckpointError("All segments of the replay are damaged: nothing is left of it.")
    changed = set()
    for name in missing:
        source = min(whole, key=lambda other: _distance(name, other))
        for key in [key for key in state if _segment(key) == source and key.count("/") > 1]:
            rows = state[key]
            times = -(-length // len(rows))  # the end of a stream is shorter than a segment
            state[name + key[len(source) :]] = torch.cat([rows] * times)[:length].clone()
            if times > 1 and key.endswith(f"/{keys.IS_FIRST}"):
                state[name + key[len(source) :]][:: len(rows)] = True
        env, number = _place(name)
        for seam in (name, f"{env}/{number + 1}"):
            first = f"{seam}/{keys.IS_FIRST}"
            if first in state:
                state[first] = state[first].clone()
                state[first][0] = True
                changed.add(seam)
    return state, changed


def _segment(key: str) -> str:
    return "/".join(key.split("/", 2)[:2])


def _place(name: str) -> tuple[int, int]:
    env, number = name.split("/")[:2]
    return int(env), int(number)


def _distance(one: str, other: str) -> tuple[bool, int, int]:
    """Nearest first: of the same env, then by age."""
    (env, number), (its_env, its_number) = _place(one), _place(other)
    return env != its_env, abs(number - its_number), its_env
