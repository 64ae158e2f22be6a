"""The doors of the configuration: resolve one, save one, load one, explain one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dreamer_plugin.config.fields import check_values, flatten
from dreamer_plugin.config.history import History, explain
from dreamer_plugin.config.idle import refuse_idle
from dreamer_plugin.config.report import LayersReport, deviations
from dreamer_plugin.config.schema import Config
from dreamer_plugin.config.secrets import hidden
from dreamer_plugin.config.stack import Layer, Request, Stack, config_path, merge_layers
from dreamer_plugin.config.yamlfile import kind, parse_yaml, read_yaml, write_text, yaml_text
from dreamer_plugin.errors import UsageError


@dataclass(frozen=True)
class Resolved:
    """A configuration and where each of its values comes from.

    Args:
        config: ready for `build` and `train`.
        history: dotted name -> every (value, source) it had, the valid one last.
        report: what differs from the published protocol, and the memory needed.
    """

    config: Config
    history: History
    report: LayersReport

    def why(self, key: str) -> str:
        """Which layer set a key, and what it replaced; see `explain`."""
        return explain(self.history, key)


def compose(
    env: str = "",
    *,
    config: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    machine: Callable[[Stack], LayersReport] | None = None,
) -> Resolved:
    """Resolve a configuration from all its layers.

    Args:
        env: env id in any accepted spelling; empty when files or overrides set `env.id`, or when
            the caller has an env object.
        config: names of presets and paths of files (or run folders), in order.
        overrides: `key=value` texts; `env.<option>=value` sets an env option.
        options: dotted name -> value, the strongest layer; `run.steps` is reported as `--steps`.
        machine: fits the published values to a machine (`layers.MachineLayer`); None leaves them.

    Returns:
        The configuration; its `protocol` is `"published"` when nothing that influences the result
        differs from the protocol's files, else `"reduced"`.

    Raises:
        UsageError: one line with the wrong name or value and the nearest valid one.
    """
    stack = Stack(Request(env, config, overrides, options))
    report = machine(stack) if machine else LayersReport()
    published, merged = stack.published(), stack.merge(report.settings)
    refuse_idle(published, merged)
    rows = report.rows + deviations(published, merged, report.settings)
    protocol = "published" if all(row.neutral for row in rows) else "reduced"
    history = merged.history | {"protocol": [(protocol, "comparison with the published files")]}
    against = (stack.protocol or stack.agent).source
    report = replace(report, rows=rows, protocol=protocol, against=against, history=history)
    return Resolved(replace(merged.config, protocol=protocol), history, report)


def load_config(path: str | Path) -> Config:
    """Read a saved configuration.

    Args:
        path: of the file, or of the run folder that holds `config.yaml`.

    Raises:
        UsageError: when it is missing, not plain YAML, or has an unknown key or a wrong type.
    """
    return _from_tree(read_yaml(config_path(Path(path)) or Path(path)), str(path))


def parse_config(text: str, source: str) -> Config:
    """The inverse of `config_text`; errors as of `load_config`, which name `source`."""
    tree = parse_yaml(text, source)
    if not isinstance(tree, dict):
        raise UsageError(f"{source} holds {kind(tree)}, not a configuration.")
    return _from_tree(tree, source)


def config_text(cfg: Config) -> str:
    """The whole configuration as plain YAML, readable by `load_config`; secrets are left out."""
    return yaml_text(hidden("", asdict(cfg)))


def save_config(cfg: Config, path: str | Path) -> None:
    """Write `config_text` to a file, whole or not at all."""
    write_text(config_text(cfg), Path(path))


def _from_tree(tree: dict[str, Any], source: str) -> Config:
    values = flatten(tree, source)
    check_values(values, dict.fromkeys(values, source))
    return merge_layers([Layer(source, values)])
