"""Sizes, names, docstrings and safety of the code, held by parsing it."""

from __future__ import annotations

import pytest
import shape_rules
from source_tree import Module, code_lines, load

RULES = {
    "long_files": shape_rules.long_files,
    "long_functions": shape_rules.long_functions,
    "grab_bags": shape_rules.grab_bags,
    "version_branches": shape_rules.version_branches,
    "unsafe": shape_rules.unsafe,
    "missing_docstrings": shape_rules.missing_docstrings,
}
READING_PATH = (
    "world.rssm",
    "world.model",
    "behavior.imagine",
    "ops.returns",
    "behavior.actor_critic",
    "agent",
)


@pytest.mark.parametrize("rule", RULES)
def test_the_tree_holds(rule, repo):
    modules = load(repo)
    assert len(modules) > 20
    assert RULES[rule](modules) == []


def test_the_reading_path_stays_short(repo):
    modules = {m.name: m for m in load(repo)}
    path = [modules[f"dreamer_plugin.{name}"] for name in READING_PATH]
    assert sum(len(code_lines(module)) for module in path) < 1100


def long_function(lines: int) -> str:
    return "def f():\n" + "    x = 1\n" * (lines - 1)


BAD = [
    ("long_files", "ops.x", "x = 1\n" * 301),
    ("long_functions", "ops.x", "\n".join(["def g(): pass"] * 20) + "\n" + long_function(81)),
    ("long_functions", "ops.x", "\n".join(["def g(): pass"] * 4) + "\n" + long_function(31)),
    ("long_functions", "ops.x", long_function(11)),
    ("grab_bags", "ops.utils", ""),
    ("grab_bags", "ops.math_utils", ""),
    ("version_branches", "behavior.x", "if version == 3:\n    pass"),
    ("version_branches", "behavior.x", "y = 1 if cfg.version > 2 else 0"),
    ("version_branches", "behavior.x", "if kind == 'v2':\n    pass"),
    ("unsafe", "run.x", "import pickle"),
    ("unsafe", "run.x", "from cloudpickle import loads"),
    ("unsafe", "run.x", "eval('1')"),
    ("unsafe", "run.x", "exec('1')"),
    ("unsafe", "run.x", "np.load(f, allow_pickle=True)"),
    ("unsafe", "run.x", "yaml.load(f)"),
    ("unsafe", "run.x", "torch.load(f, weights_only=False)"),
    ("unsafe", "run.x", "torch.load(f)"),
    ("unsafe", "run.x", "pipe.recv()"),
    ("missing_docstrings", "ops.x", "def f():\n    pass"),
    ("missing_docstrings", "ops.x", '"""A."""\nclass A:\n    """B."""\n    def f(self): pass'),
]


@pytest.mark.parametrize(("rule", "name", "text"), BAD)
def test_a_violation_is_found(rule, name, text):
    assert RULES[rule]([Module(f"dreamer_plugin.{name}", text)])


GOOD = [
    ("long_files", '"""Doc."""\n' + "x = 1\n" * 300 + "# why\n" * 50),
    ("long_functions", long_function(10)),
    ("version_branches", "if kind == 'continuous':\n    pass"),
    (
        "unsafe",
        "np.load(f, allow_pickle=False)\nmodel.eval()\nyaml.safe_load(f)\npipe.recv_bytes()",
    ),
    ("unsafe", "torch.load(f, weights_only=True)"),
    ("missing_docstrings", '"""A."""\ndef _f(): pass'),
]


@pytest.mark.parametrize(("rule", "text"), GOOD)
def test_what_is_allowed_passes(rule, text):
    assert RULES[rule]([Module("dreamer_plugin.world.x", text)]) == []


def test_docstrings_comments_and_blank_lines_are_no_code():
    text = '"""Doc\n\nmore."""\n\n# why\nx = """a\nb"""\n\ndef f():\n    """Doc."""\n    return x\n'
    assert code_lines(Module("dreamer_plugin.x", text)) == {6, 7, 9, 11}
