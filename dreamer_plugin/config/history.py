"""Who set each key, and over what: told in words, and read back from a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dreamer_plugin.config.fields import OPTIONS, unknown_key
from dreamer_plugin.config.secrets import hidden
from dreamer_plugin.errors import UsageError

History = dict[str, list[tuple[Any, str]]]  # dotted name -> (value, source), the valid one last
HISTORY_FILE = "layers.json"


def explain(history: Mapping[str, Sequence[tuple[Any, str]]], key: str) -> str:
    """One line for each layer that set a key, the valid one first.

    Args:
        history: of `Resolved`.
        key: dotted name; an env option also as `env.<option>`.

    Raises:
        UsageError: when the key is unknown, or a section; names the nearest, or one in it.
    """
    option = f"{OPTIONS}.{key.removeprefix('env.')}"
    name = option if option in history and key not in history else key
    inside = [known for known in history if known.startswith(f"{name}.")]
    if name not in history and inside:
        raise UsageError(f"{key} is a section: --why takes one key of it, such as {inside[0]}.")
    if name not in history:
        raise unknown_key(key, "--why", history)
    *replaced, (value, source) = [(hidden(name, value), by) for value, by in history[name]]
    lines = [f"{name} = {value!r}, set by {source}"]
    lines += [f"  over {old!r} of {place}" for old, place in reversed(replaced)]
    return "\n".join(lines)


def continued(before: History, now: History) -> History:
    """The history of a run that goes on: a value that stayed is that of who set it then.

    Args:
        before: of the run until now; may be empty. now: of what it goes on with.
    """
    history: History = {}
    for key, values in now.items():
        old, (value, by) = before.get(key, []), values[-1]
        if not old:
            history[key] = values
        elif old[-1][0] == hidden(key, value):
            history[key] = old
        else:
            history[key] = [*old, (hidden(key, value), by)]
    return history


def saved_history(run_dir: Path) -> History:
    """What `LayersReport.save` kept of a run's history; empty when there is none.

    Raises:
        UsageError: when the file is not what was saved.
    """
    path = run_dir / HISTORY_FILE
    if not path.is_file():
        return {}
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["history"]
        return {key: [(value, by) for value, by in values] for key, values in history.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is damaged; remove it to go without.") from error
