"""Config to objects: the only reader of a config in the core.

Each function builds one part and reads the sections that part needs.
"""

from __future__ import annotations

from dreamer_plugin.build.agent import build_agent, choose_precision
from dreamer_plugin.build.behavior import build_behavior
from dreamer_plugin.build.optimizer import build_optimizer
from dreamer_plugin.build.world import build_rssm, build_world

__all__ = [
    "build_agent",
    "build_behavior",
    "build_optimizer",
    "build_rssm",
    "build_world",
    "choose_precision",
]
