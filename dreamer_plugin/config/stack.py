"""The layers of one request, in their order, and how they become one `Config`.

Later wins: agent, env, protocol, machine, size, reference or ext, FILE, key=value, options.
A size preset stands elsewhere in two cases: a FILE chose the size (then right before that FILE, so
that its own widths hold), or an option overrides a FILE's size (then right after that FILE).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

import dreamer_envs
from dreamer_plugin.config import presets
from dreamer_plugin.config.fields import OPTIONS, check_values, flatten, nest
from dreamer_plugin.config.history import History, saved_history
from dreamer_plugin.config.schema import Config
from dreamer_plugin.config.secrets import hidden
from dreamer_plugin.config.trust import PROGRAMS, allow_program
from dreamer_plugin.config.yamlfile import parse_yaml, read_yaml
from dreamer_plugin.errors import UsageError

AGENT = "v3"  # the default
SCHEMA = "default of the schema"
MACHINE = "the machine layer"
CAPACITY = "replay.capacity"


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    Args:
        source: the place, as a user knows it.
        values: dotted name -> value of the right type.
        origins: dotted name -> who first set it, for the settings of a saved run.
        shelf: of a preset, empty for all else.
    """

    source: str
    values: dict[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    shelf: str = ""


@dataclass(frozen=True)
class Merged:
    """Layers in order, and every (value, source) that each dotted name had, the valid one last."""

    layers: list[Layer]
    history: History

    @cached_property
    def config(self) -> Config:
        """What the layers add up to."""
        return merge_layers(self.layers)

    @property
    def widths(self) -> Mapping[str, Any]:
        """What the valid size says, where it is one with a preset."""
        return next((layer.values for layer in self.layers if layer.shelf == "size"), {})

    def value(self, key: str) -> Any:
        """The valid value of a dotted name, None for an env option that nobody set."""
        return self.history[key][-1][0] if key in self.history else None

    def source(self, key: str) -> str:
        """Who set the valid value."""
        return self.history[key][-1][1]


@dataclass(frozen=True)
class Request:
    """What a user asked for, as given.

    Args:
        env: env id in any accepted spelling, or empty.
        config: names of presets, paths of files or of run folders.
        overrides: `key=value` texts.
        options: dotted name -> value.
    """

    env: str = ""
    config: Sequence[str | Path] = ()
    overrides: Sequence[str] = ()
    options: Mapping[str, Any] | None = None


class Stack:
    """All layers of one request, read and checked, to be merged with or without a machine layer.

    Raises:
        UsageError: one line with the wrong name or value and the nearest valid one.
    """

    def __init__(self, request: Request) -> None:
        named, files = _split_configs(request.config)
        keys = [_parse_override(text) for text in request.overrides]
        raw = [*((preset.source, preset.tree) for preset in named), *files]
        _refuse_mixed_agents(raw)
        raw += [(_source(key, value, text), {key: value}) for key, value, text in keys]
        raw += [(_flag(key), {key: value}) for key, value in (request.options or {}).items()]
        env_id, env_source = _env_id(request.env, raw)
        self.env, known = _suite(env_id)
        shelves = [preset.shelf for preset in named] + [""] * (len(raw) - len(named))
        layers = [
            _layer(source, flatten(tree, source, known), shelf)
            for (source, tree), shelf in zip(raw, shelves, strict=True)
        ]
        middle = len(named) + len(files)
        self._middle, self._keys = layers[:middle], layers[middle:]
        for layer in self._keys:  # typed, where those in the middle are files
            for key in (f"env.options.{option}" for option in PROGRAMS):
                if key in layer.values:
                    allow_program(str(layer.values[key]))
        if env_id:
            self._keys.append(Layer(env_source, {"env.id": env_id}))
        agent = presets.get("agent", str(self._asked("agent", AGENT)))
        self.agent = Layer(agent.source, flatten(agent.tree, agent.source), shelf=agent.shelf)
        # An agent's name among the configs chose the agent; the file itself is the lowest layer.
        self._middle = [layer for layer in self._middle if layer.shelf != "agent"]
        self.protocol = self._find_protocol(f"protocol/{agent.name}", env_id)

    @property
    def force_published(self) -> bool:
        """Whether the user demands the published protocol; a record in a file is no demand."""
        found = [layer.values["protocol"] for layer in self._keys if "protocol" in layer.values]
        return found[-1:] == ["published"]

    @property
    def chosen(self) -> frozenset[str]:
        """Dotted names that the user set, by preset, file, key or option."""
        return frozenset(key for layer in (*self._middle, *self._keys) for key in layer.values)

    def published(self) -> Merged:
        """What the files say without the machine layer and the user."""
        return self._merge([], [], [])

    def merge(self, machine: Mapping[str, Any]) -> Merged:
        """Everything, with the machine layer's settings (dotted name -> value) in their place."""
        layer = [Layer(MACHINE, dict(machine))] if machine else []
        return self._merge(layer, self._middle, self._keys)

    def _asked(self, key: str, default: Any) -> Any:
        layers = (*self._middle, *self._keys)
        return [default, *(layer.values[key] for layer in layers if key in layer.values)][-1]

    def _find_protocol(self, shelf: str, env_id: str) -> Layer | None:
        """The task's own protocol, else its suite's; the `_vision` form when asked for pixels."""
        suite = env_id.partition("/")[0]
        own = self.env.values.get(f"{OPTIONS}.obs") if self.env else None
        vision = self._asked(f"{OPTIONS}.obs", own) in ("pixels", "both")
        names = [env_id.replace("/", "_"), *([f"{suite}_vision"] if vision else []), suite]
        return next(filter(None, (_preset_layer(shelf, name) for name in names)), None)

    def _merge(self, machine: list[Layer], middle: list[Layer], keys: list[Layer]) -> Merged:
        low = [self.agent, *(layer for layer in (self.env, self.protocol) if layer), *machine]
        layers = _with_size(low, middle, keys)
        history = _history(layers)
        valid = {key: values[-1] for key, values in history.items()}
        check_values(
            {key: value for key, (value, _) in valid.items()},
            {key: source for key, (_, source) in valid.items()},
        )
        return Merged(layers, history)


def merge_layers(layers: Iterable[Layer]) -> Config:
    """Merge checked layers over the schema's defaults, later over earlier."""
    flat: dict[str, Any] = {}
    for layer in layers:
        flat |= layer.values
    merged = OmegaConf.merge(_schema(), nest(flat))
    return cast(Config, OmegaConf.to_object(merged))


@lru_cache(maxsize=1)
def _schema() -> DictConfig:
    """The typed form of the defaults; merging copies it."""
    return cast(DictConfig, OmegaConf.structured(Config))


def _with_size(low: list[Layer], middle: list[Layer], keys: list[Layer]) -> list[Layer]:
    """All layers in order with the size preset among them (see the head of this file)."""
    layers = [*low, *middle, *keys]
    setters = [place for place, layer in enumerate(layers) if "size" in layer.values]
    if not setters or not layers[setters[-1]].values["size"]:
        return layers
    chooser = layers[setters[-1]]
    size = presets.get("size", chooser.values["size"])
    values = flatten(size.tree, size.source)
    values.pop("size", None)  # stays with whoever chose it
    in_middle = [place for place in setters if len(low) <= place < len(low) + len(middle)]
    place = len(low)
    if in_middle:
        place = in_middle[-1] + (in_middle[-1] != setters[-1])
    layer = Layer(f"{size.source} (chosen by {chooser.source})", values, shelf=size.shelf)
    return [*layers[:place], layer, *layers[place:]]


def _history(layers: Sequence[Layer]) -> History:
    """Who set each key; the schema's default counts only where nobody did."""
    history: History = {}
    for layer in layers:
        for key, value in layer.values.items():
            source = layer.origins.get(key, layer.source)
            if history.get(key, [])[-1:] != [(value, source)]:
                history.setdefault(key, []).append((value, source))
    defaults = flatten(asdict(Config()), SCHEMA)
    return {key: [(value, SCHEMA)] for key, value in defaults.items()} | history


def _split_configs(
    config: Sequence[str | Path],
) -> tuple[list[presets.Preset], list[tuple[str, dict[str, Any]]]]:
    """Presets by name, and files as (source, tree).

    Raises:
        UsageError: there is no such preset or file.
    """
    named, files = [], []
    for each in config:
        path = config_path(each)
        if path is None:
            named.append(presets.named(str(each)))
        else:
            files.append((str(each), read_yaml(path)))
    return named, files


def _refuse_mixed_agents(raw: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """An error where configs are for different agents; a key may take another agent."""
    agents: dict[str, str] = {}
    for source, tree in raw:
        if tree.get("agent"):
            agents.setdefault(str(tree["agent"]), source)
    if len(agents) > 1:
        asked = " and ".join(f"{agent} ({source})" for agent, source in agents.items())
        raise UsageError(f"{asked} are {len(agents)} agents: take what is for one of them.")


def config_path(config: str | Path) -> Path | None:
    """The file that a `--config` value means, None when it is the name of a preset.

    A folder of a preset's name is meant by a path: `./v3`.
    """
    path = Path(config)
    if isinstance(config, str) and config in presets.meant():
        return None
    if path.is_dir():
        return path / "config.yaml"
    is_file = isinstance(config, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    return path if is_file else None


def agent_of(config: str | Path) -> str:
    """The agent that a preset, a file or a run is for; empty where it is for any.

    Raises:
        UsageError: there is no such preset or file.
    """
    path = config_path(config)
    tree = read_yaml(path) if path else presets.named(str(config)).tree
    return str(tree.get("agent", ""))


def _parse_override(text: str) -> tuple[str, Any, str]:
    """`key=value` -> (key, value, text)."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        env = f" For an env write --env {text}." if "/" in text else ""
        raise UsageError(f"Expected key=value, got {text!r}.{env}")
    return key, parse_yaml(value, text), text


def _layer(source: str, values: dict[str, Any], shelf: str) -> Layer:
    """Settings from one place; of a saved run, a replay that was cut to its steps is fitted anew.

    A run that is continued gets more steps. What was cut to the memory stays, however much is free
    now: it holds that many, and with another number the run would go another way.
    """
    origins = _origins(source)
    if origins.get(CAPACITY) == MACHINE and values.get(CAPACITY, 0) >= values.get("run.steps", 0):
        values = {key: value for key, value in values.items() if key != CAPACITY}
    return Layer(source, values, origins, shelf)


def _origins(source: str) -> dict[str, str]:
    """Who first set the settings of a run, where `source` is the folder of one."""
    history = saved_history(Path(source)) if Path(source).is_dir() else {}
    return {key: settings[-1][1] for key, settings in history.items()}


def _env_id(env: str, raw: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[str, str]:
    """The canonical env id and who set it, both empty when nobody did.

    Raises:
        UsageError: when a config was made for another suite than the one asked for.
    """
    given = [(str(found), source) for source, tree in raw if (found := _raw_env_id(tree))]
    given += [(env, "--env")] if env else []
    if not given:
        return "", ""
    ids = [(dreamer_envs.canonical(each), source) for each, source in given]
    final, by = ids[-1]
    for other, source in ids[:-1]:
        if other.partition("/")[0] != final.partition("/")[0]:
            raise UsageError(
                f"{by} asks for {final}, but {source} is for {other}: their settings do not mix."
            )
    return final, by


def _raw_env_id(tree: Mapping[str, Any]) -> Any:
    section = tree.get("env")
    return tree.get("env.id") or (section.get("id") if isinstance(section, Mapping) else None)


def _suite(env_id: str) -> tuple[Layer | None, list[str]]:
    """The layer of an env's suite and the names of its options.

    A suite of another package has no preset; what it declares of itself stands in.
    """
    if not env_id:
        return None, []
    suite = env_id.partition("/")[0]
    try:
        options = list(dreamer_envs.options(suite))
    except ImportError:  # its package is missing, which making the env reports
        options = []
    layer = _preset_layer("env", suite)
    if layer is not None:
        listed = (key for key in layer.values if key.startswith(f"{OPTIONS}."))
        options += [key.removeprefix(f"{OPTIONS}.") for key in listed]
    else:
        timeout = dreamer_envs.suite_of(env_id).terminal_on_timeout
        layer = Layer(f"the suite {suite}", {"env.terminal_on_timeout": timeout})
    return layer, options


def _preset_layer(shelf: str, name: str) -> Layer | None:
    preset = presets.find(shelf, name)
    if preset is None:
        return None
    return Layer(preset.source, flatten(preset.tree, preset.source), shelf=shelf)


def _source(key: str, value: Any, text: str) -> str:
    """The text of an override as it may be shown."""
    shown = hidden(key, value)
    return text if shown == value else f"{key}={shown}"


def _flag(key: str) -> str:
    """How the command line spells an option: `env.num_envs` -> `--num-envs`."""
    return "--" + key.rpartition(".")[2].replace("_", "-")
