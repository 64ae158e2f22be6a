"""Charts as SVG text, for pages that need neither a network nor JavaScript."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")
STYLE = """
svg{background:#fff;border:1px solid #eee;max-width:100%;height:auto}
.title{font-size:13px;font-weight:600}
.name{font-size:10px;fill:#222;paint-order:stroke;stroke:#fff;stroke-width:3px}
.tick{font-size:10px;fill:#555}
.axis{font-size:11px;fill:#555}
.grid{stroke:#eee;fill:none}
.line{fill:none;stroke-width:1.6}
.band{opacity:.15}
.point{stroke-width:6;stroke-linecap:round;fill:none}
.dots{stroke-width:2.4;stroke-linecap:round;opacity:.3;fill:none}
"""  # of a page that shows charts
MOST = 400  # points of a drawn line
_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 26, 34
_INSET = 4  # between the borders and what is drawn, which is as thick as that

Numbers = Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """One line of a chart; points whose number is None or not finite are left out.

    Args:
        name: in the legend. x, y: `[N]` each.
        colour: index of `COLOURS`. dashed: how it is drawn.
        low, high: `[N]`, a band around it.
        dots: draw points instead of a line.
    """

    name: str
    x: Sequence[float]
    y: Numbers
    colour: int = 0
    dashed: bool = False
    low: Numbers = ()
    high: Numbers = ()
    dots: bool = False


def line_chart(title: str, x_label: str, lines: Sequence[Line]) -> str:
    """An SVG with axes, grid, lines, and a legend where lines have several names.

    Args:
        title, x_label: of the chart. lines: with at least one finite point in all, else the chart
            is an empty text.
    """
    kept = [(line, _points(line)) for line in lines]
    xs = [x for _, points in kept for x, *_ in points]
    ys = [y for _, points in kept for _, *values in points for y in values]
    if not xs:
        return ""
    frame = _Frame(*_span(xs), *_span(ys))
    parts = [_axes(title, x_label, frame)]
    for line, points in kept:
        parts.append(_drawn(line, points, frame))
    names = [(line.name, line) for line, points in kept if points and line.name]
    if len({line.name for line in lines if line.name}) > 1:
        parts.append(_legend(dict(names)))
    return _svg(parts, title)


def standing_alone(chart: str) -> str:
    """The text of an SVG file; an empty chart stays an empty text."""
    if not chart:
        return ""
    rules = f"<style>svg{{font-family:system-ui,sans-serif}}{STYLE}</style>"
    opened, _, rest = chart.partition(">")
    return f'{opened} xmlns="http://www.w3.org/2000/svg">{rules}{rest}\n'


def heat_map(title: str, rows: Sequence[Sequence[float]], x_label: str, y_label: str) -> str:
    """An SVG of numbers from 0 (white) to 1 (dark), one cell each.

    Args:
        rows: `[R][C]`, the first row on top.
    """
    if not rows or not rows[0]:
        return ""
    wide = (_WIDTH - _LEFT - _RIGHT) / len(rows[0])
    high = (_HEIGHT - _TOP - _BOTTOM) / len(rows)
    cells = [
        f'<rect x="{_LEFT + j * wide:.1f}" y="{_TOP + i * high:.1f}" width="{wide:.1f}" '
        f'height="{high:.1f}" fill="rgb({_shade(value)})">'
        f"<title>{i}, {j}: {value:.3f}</title></rect>"
        for i, row in enumerate(rows)
        for j, value in enumerate(row)
    ]
    middle = _TOP + (_HEIGHT - _TOP - _BOTTOM) / 2
    texts = [
        _text(_LEFT, 16, title, "title"),
        _text(_WIDTH / 2, _HEIGHT - 8, x_label, "axis", "middle"),
        f'<text class="axis" text-anchor="middle" transform="translate(14,{middle}) rotate(-90)">'
        f"{escape(y_label)}</text>",
    ]
    return _svg(cells + texts, title)


@dataclass(frozen=True)
class _Frame:
    """What numbers the borders stand for."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        share = (value - self.x0) / (self.x1 - self.x0)
        return _LEFT + _INSET + share * (_WIDTH - _LEFT - _RIGHT - 2 * _INSET)

    def y(self, value: float) -> float:
        share = (value - self.y0) / (self.y1 - self.y0)
        return _HEIGHT - _BOTTOM - _INSET - share * (_HEIGHT - _TOP - _BOTTOM - 2 * _INSET)


def _points(line: Line) -> list[tuple[float, ...]]:
    """Finite points `(x, y)`, or `(x, y, low, high)`; of many an even choice, the last one too."""
    columns = [line.x, line.y, *([line.low, line.high] if line.low else [])]
    whole = [
        tuple(float(value) for value in row if value is not None)
        for row in zip(*columns, strict=True)
        if all(value is not None and math.isfinite(value) for value in row)
    ]
    stride = max(1, -(-len(whole) // MOST))
    chosen = whole[::stride]
    return chosen + whole[-1:] if whole and chosen[-1] != whole[-1] else chosen


def _span(values: Iterable[float]) -> tuple[float, float]:
    """Ends of an axis, apart from each other."""
    some = list(values)
    low, high = min(some), max(some)
    if high > low:
        return low, high
    return low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers within a span."""
    rough = (high - low) / 5
    unit = 10 ** math.floor(math.log10(rough))
    size = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first = math.ceil(low / size)
    return [size * i for i in range(first, first + 12) if size * i <= high + 1e-9 * size]


def _number(value: float) -> str:
    """As short as it can be read: 20k, 1.5M, 0.003."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            divisor = 1e3 if letter == "k" else limit
            return f"{value / divisor:g}{letter}"
    return f"{value:.4g}"


def _axes(title: str, x_label: str, frame: _Frame) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [_text(_LEFT, 16, title, "title")]
    for value in _ticks(frame.y0, frame.y1):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(_text(_LEFT - 5, y + 4, _number(value), "tick", "end"))
    for value in _ticks(frame.x0, frame.x1):
        x = frame.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>')
        parts.append(_text(x, bottom + 14, _number(value), "tick", "middle"))
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 4, x_label, "axis", "middle"))
    return "".join(parts)


def _drawn(line: Line, points: Sequence[tuple[float, ...]], frame: _Frame) -> str:
    colour = COLOURS[line.colour % len(COLOURS)]
    places = [f"{frame.x(point[0]):.1f} {frame.y(point[1]):.1f}" for point in points]
    if line.dots or len(places) == 1:  # a line of one point would not be seen
        dots = "".join(f"M{place}h.01" for place in places)
        kind = "dots" if line.dots else "point"
        return f'<path class="{kind}" stroke="{colour}" d="{dots}"/>'
    band = ""
    if points and len(points[0]) == 4:
        up = [f"{frame.x(p[0]):.1f} {frame.y(p[3]):.1f}" for p in points]
        down = [f"{frame.x(p[0]):.1f} {frame.y(p[2]):.1f}" for p in reversed(points)]
        band = f'<path class="band" fill="{colour}" d="M{"L".join(up + down)}Z"/>'
    dash = ' stroke-dasharray="5 3"' if line.dashed else ""
    path = f'<path class="line" stroke="{colour}"{dash} d="M{"L".join(places)}"/>' if places else ""
    return band + path


def _legend(lines: dict[str, Line]) -> str:
    """Names at the left."""
    parts = []
    for row, (name, line) in enumerate(lines.items()):
        y = _TOP + 12 + 13 * row
        colour = COLOURS[line.colour % len(COLOURS)]
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        parts.append(f'<path class="line" stroke="{colour}"{dash} d="M{_LEFT + 6} {y - 4}h16"/>')
        parts.append(_text(_LEFT + 26, y, name, "name"))
    return "".join(parts)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(parts: Sequence[str], title: str) -> str:
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    return f'<svg role="img" aria-label="{escape(title)}" {size}>{"".join(parts)}</svg>'


def _shade(value: float) -> str:
    """White to dark blue."""
    share = min(max(value, 0.0), 1.0)
    ends = zip((255, 255, 255), (8, 48, 107), strict=True)
    return ",".join(str(round(a + (b - a) * share)) for a, b in ends)
