"""The floors of docs/architecture.md, held by parsing every import."""

from __future__ import annotations

import import_rules
import pytest
from source_tree import Module, load

RULES = {
    "floors": import_rules.floors,
    "doors": import_rules.doors,
    "circles": import_rules.circles,
    "torchrl": import_rules.torchrl,
    "light_envs": import_rules.light_envs,
    "hidden": import_rules.hidden,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_tree_holds(rule, repo):
    modules = load(repo)
    assert len(modules) > 20
    assert RULES[rule](modules) == []


def test_every_room_has_a_floor(repo):
    rooms = {m.room for m in load(repo) if m.name.startswith("dreamer_plugin.")}
    assert rooms - import_rules.FACES <= set(import_rules.FLOORS)


BAD = [
    ("floors", [("dreamer_plugin.ops.x", "from dreamer_plugin.world import rssm")]),
    ("floors", [("dreamer_plugin.nets.x", "from dreamer_plugin.data import replay")]),
    ("floors", [("dreamer_plugin.world.x", "from ..agent import Agent")]),
    ("floors", [("dreamer_plugin.attic.x", "import dreamer_plugin.ops.returns")]),
    ("doors", [("dreamer_plugin.run.x", "def f():\n    from dreamer_plugin.doors import api")]),
    (
        "circles",
        [
            ("dreamer_plugin.ops.a", "from dreamer_plugin.ops.b import f"),
            ("dreamer_plugin.ops.b", "from . import c"),
            ("dreamer_plugin.ops.c", "import dreamer_plugin.ops.a"),
        ],
    ),
    ("torchrl", [("dreamer_plugin.nets.x", "from torchrl.modules import MLP")]),
    ("torchrl", [("dreamer_plugin.build", "def f():\n    import torchrl")]),
    ("light_envs", [("dreamer_envs.toy", "import torch")]),
    ("light_envs", [("dreamer_envs.suites.x", "from dreamer_plugin.errors import UsageError")]),
    ("hidden", [("dreamer_plugin.run.x", "def f():\n    import json")]),
]


@pytest.mark.parametrize(("rule", "files"), BAD)
def test_a_violation_is_found(rule, files):
    assert len(RULES[rule]([Module(name, text) for name, text in files])) == 1


GOOD = [
    ("floors", "dreamer_plugin.world.x", "from dreamer_plugin.nets import layers"),
    ("floors", "dreamer_plugin.config.x", "from dreamer_plugin.errors import UsageError"),
    ("doors", "dreamer_plugin.doors.cli", "from dreamer_plugin.doors import api"),
    ("torchrl", "dreamer_plugin.data.x", "import torchrl"),
    ("hidden", "dreamer_plugin.doors.cli", "def f():\n    import json"),
    ("hidden", "dreamer_envs.suites.atari", "def f():\n    import ale_py"),
]


@pytest.mark.parametrize(("rule", "name", "text"), GOOD)
def test_what_is_allowed_passes(rule, name, text):
    assert RULES[rule]([Module(name, text)]) == []
