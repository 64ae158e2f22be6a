"""The table of `docs/family.md`: every key in which the files of the agents differ.

python -m tests.config.family_table    writes it anew
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dreamer_plugin.config.fields import flatten
from dreamer_plugin.config.yamlfile import read_yaml

AGENTS = ("v1", "v2", "v3", "v3_2023")
REPO = Path(__file__).parents[2]
PAGE = REPO / "docs" / "family.md"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
ELSEWHERE = "by size"  # widths of V3 stand in configs/size


def agents() -> dict[str, dict[str, Any]]:
    """Agent -> dotted key -> value of its file."""
    return {
        name: flatten(read_yaml(REPO / "configs" / "agent" / f"{name}.yaml"), name)
        for name in AGENTS
    }


def differing(found: dict[str, dict[str, Any]]) -> list[str]:
    """Keys that V1, V2 and V3 do not share, in the order of the files, V3's first."""
    versions = [found[name] for name in ("v3", "v2", "v1")]
    keys = dict.fromkeys(key for version in versions for key in version)
    return [k for k in keys if k != "agent" and len({str(v.get(k)) for v in versions}) > 1]


def table() -> str:
    """Markdown, without the markers around it."""
    found = agents()
    head = [["key", *AGENTS], ["---"] * (len(AGENTS) + 1)]
    rows = [[f"`{key}`", *(_cell(found[name], key) for name in AGENTS)] for key in differing(found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in head + rows) + "\n"


def page(text: str) -> str:
    """The page with its table made anew."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}{END}{rest.split(END)[1]}"


def _cell(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return ELSEWHERE
    value = values[key]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return str(value) or "empty"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
