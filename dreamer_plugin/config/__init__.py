"""Configuration: the schema, its layers, and who set what."""

from dreamer_plugin.config.changes import changed_keys, changes
from dreamer_plugin.config.history import explain
from dreamer_plugin.config.layers import EnvFacts, MachineLayer
from dreamer_plugin.config.load import (
    Resolved,
    compose,
    config_text,
    load_config,
    parse_config,
    save_config,
)
from dreamer_plugin.config.report import LayersReport
from dreamer_plugin.config.schema import Config

__all__ = [
    "Config",
    "EnvFacts",
    "LayersReport",
    "MachineLayer",
    "Resolved",
    "changed_keys",
    "changes",
    "compose",
    "config_text",
    "explain",
    "load_config",
    "parse_config",
    "save_config",
]
