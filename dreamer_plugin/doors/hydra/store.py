"""Puts our nodes into Hydra's ConfigStore, never over another's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dreamer_envs
from dreamer_plugin.doors.hydra.nodes import AGENTS, root_node, trainer_node
from dreamer_plugin.errors import UsageError

PROVIDER = "dreamer_plugin"


def register() -> list[str]:
    """Make `"dreamer"` known: nodes for Hydra, ids for Gymnasium. May be called again.

    An installed wheel needs this for notebooks and `hydra.compose` only after Hydra was set up in
    another way; Hydra 1.3 does not see the plugin of an editable install, which needs it always.

    Returns:
        What there is now: `"trainer/dreamer"` and the like, and for Gymnasium `"toy/*"`.

    Raises:
        UsageError: when a name is taken by another package, naming it; the others are stored.
    """
    stored, taken = store_nodes()
    dreamer_envs.register_with_gymnasium()
    if taken:
        raise UsageError(f"another package's nodes stay as they are: {', '.join(taken)}")
    return [*stored, *(f"{info.name}/*" for info in dreamer_envs.available())]


def store_nodes() -> tuple[list[str], list[str]]:
    """Store the nodes whose names are free.

    Returns:
        Names that are ours now, and names that others have taken.

    Raises:
        UsageError: when Hydra is not installed.
    """
    try:
        from hydra.core.config_store import ConfigStore
    except ImportError as error:
        raise UsageError("Hydra is missing: pip install 'dreamer-plugin[hydra]'") from error
    repository = ConfigStore.instance()
    ours: list[str] = []
    taken: list[str] = []
    for group, name, node in _nodes():
        found = _stored(repository.repo, group, name)
        if found is None:
            repository.store(name, node, group=group or None, provider=PROVIDER)
        mine = found is None or found.provider == PROVIDER
        (ours if mine else taken).append(f"{group}/{name}".lstrip("/"))
    return ours, taken


def _nodes() -> Iterator[tuple[str, str, Any]]:
    """Group, name and node; the group of a whole config is empty."""
    for name, agent in AGENTS.items():
        yield "trainer", name, trainer_node(agent)
        yield "", name, root_node(name)


def _stored(repository: dict[str, Any], group: str, name: str) -> Any:
    place: Any = repository.get(group, {}) if group else repository
    return place.get(f"{name}.yaml") if isinstance(place, dict) else None
