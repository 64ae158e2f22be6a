"""One HTML page that needs nothing else: sections, tables, charts, pictures inside it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from dreamer_plugin.study.charts import STYLE

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;margin:0 auto;max-width:1400px;padding:1.2rem}
h1{font-size:1.5rem;margin:.2rem 0}
h2{font-size:1.15rem;margin:1.8rem 0 .5rem;border-bottom:1px solid #ddd}
p.note{color:#555;margin:.2rem 0 .6rem}
table{border-collapse:collapse;font-size:.85rem;margin:.4rem 0}
td,th{border:1px solid #ddd;padding:.2rem .5rem;text-align:left;vertical-align:top}
th{background:#f5f5f5}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
.charts{display:flex;flex-wrap:wrap;gap:.6rem}
figure{margin:.3rem}
figcaption{font-size:.85rem;color:#555}
pre{background:#f7f7f7;padding:.6rem;overflow:auto;font-size:.8rem}
img{image-rendering:pixelated;max-width:100%}
""".strip()
# The browser is told, too, that nothing is to be loaded or run.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, sections: Iterable[str]) -> str:
    """The whole document."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(sections)}</body></html>\n"
    )


def section(title: str, *parts: str, note: str = "") -> str:
    """A heading with what stands below; an empty text where there is nothing."""
    body = "".join(parts)
    if not body:
        return ""
    explained = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{explained}{body}</section>"


def charts(drawn: Iterable[str]) -> str:
    """Charts side by side; those that are empty left out."""
    kept = [each for each in drawn if each]
    return f'<div class="charts">{"".join(kept)}</div>' if kept else ""


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; numbers stand at the right. A header of empty cells is left out."""
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header) if any(header) else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="wide"><table>{head and f"<tr>{head}</tr>"}{body}</table></div>'
        if body
        else ""
    )


def folded(title: str, text: str) -> str:
    """Text that opens at a click."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def picture(caption: str, data: bytes, kind: str = "gif") -> str:
    """A picture or film inside the page."""
    coded = base64.b64encode(data).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/{kind};base64,{coded}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def facts(pairs: Mapping[str, Any]) -> str:
    """Names and what they are, as a table of two columns."""
    return table(("", ""), pairs.items())


def machines(of: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What trainings were made on.

    Args:
        of: name of a training to the lines of its `machine.jsonl`.
    """
    found = [(name, line) for name, lines in of.items() for line in lines]
    columns = list(dict.fromkeys(column for _, line in found for column in line))
    rows = [(name, *(str(line.get(column, "")) for column in columns)) for name, line in found]
    silent = [name for name, lines in of.items() if not lines]
    note = f"<p>Not noted by {escape(', '.join(silent))}.</p>" if silent else ""
    return table(("run", *columns), rows) + note


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:,.4g}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{escape('' if value is None else str(value))}</td>"
