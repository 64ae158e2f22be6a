"""`dreamer-plugin show`: a resolved configuration, and who set what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import yaml
from rich.console import Console

from dreamer_plugin.config import LayersReport, Resolved, explain, load_config
from dreamer_plugin.config.fields import OPTIONS, flatten
from dreamer_plugin.config.history import continued, saved_history
from dreamer_plugin.config.secrets import hidden
from dreamer_plugin.doors.cli_config import resolve
from dreamer_plugin.doors.run_paths import require_run
from dreamer_plugin.errors import UsageError

INDENT = 2


def resolve_words(
    words: Sequence[str], env: str, config: Sequence[str], options: Mapping[str, Any]
) -> Resolved:
    """What `show` is about.

    Args:
        words: a run folder, or `key=value` settings.
        env: as in `config.compose`.
        config: presets and files.
        options: dotted name -> value.

    Raises:
        UsageError: when a run and a request are mixed, or something does not exist.
    """
    runs = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    if not runs:
        return resolve(env, config, overrides, options, must_exist=False)
    if len(runs) > 1 or overrides or env or config or options:
        raise UsageError("Show one run, or an env with its settings, not both.")
    hint = f" For an env write --env {runs[0]}." if "/" in runs[0] else ""
    run = require_run(runs[0], hint)
    cfg = load_config(run)
    source = str(run / "config.yaml")
    saved = {key: [(value, source)] for key, value in flatten(asdict(cfg), source).items()}
    # Whatever the file says is so, also where it was continued without a word on who set it.
    return Resolved(cfg, continued(saved_history(run), saved), LayersReport())


def why(shown: Resolved, key: str, as_json: bool) -> str:
    """Who set a key, and over what.

    Raises:
        UsageError: unknown key; names the nearest.
    """
    text = explain(shown.history, key)
    if not as_json:
        return text
    name = text.partition(" = ")[0]
    values = [(hidden(name, value), source) for value, source in shown.history[name]]
    settings = [{"value": value, "source": source} for value, source in values]
    return json.dumps({"key": name, **settings[-1], "over": settings[-2::-1]})


def as_json(shown: Resolved) -> str:
    """The configuration, the source of each value, and the report, as JSON."""
    sources = {key: values[-1][1] for key, values in shown.history.items()}
    report = shown.report.to_dict()
    report.pop("history")
    return json.dumps(
        {"config": hidden("", asdict(shown.config)), "sources": sources, "report": report}, indent=2
    )


def as_yaml(shown: Resolved) -> str:
    """The configuration as YAML; a comment on each line says who set it."""
    sources = {key: values[-1][1] for key, values in shown.history.items()}
    lines = list(_lines(hidden("", asdict(shown.config)), "", 0, sources))
    column = max(len(line) for line, _ in lines) + INDENT
    return "\n".join(f"{line:<{column}}# {source}" if source else line for line, source in lines)


def print_report(shown: Resolved) -> None:
    """The table of what differs, on stderr, so that stdout stays YAML."""
    if shown.report.machine is not None:
        Console(stderr=True).print(shown.report)


def _lines(
    tree: Mapping[str, Any], prefix: str, depth: int, sources: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Lines of YAML, each with the source of its value."""
    lines: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = prefix + key
        start = " " * (INDENT * depth) + f"{_scalar(key)}:"
        if isinstance(value, dict) and value and not name.startswith(f"{OPTIONS}."):
            lines += [(start, ""), *_lines(value, f"{name}.", depth + 1, sources)]
        else:
            lines.append((f"{start} {_scalar(value)}", sources.get(name, "")))
    return lines


def _scalar(value: Any) -> str:
    """A value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
