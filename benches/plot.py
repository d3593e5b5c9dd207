"""The picture: for every row, each loop's cost as a multiple of tepal's.

An SVG written by hand: a scatter of dots needs no plotting library to be installed on five versions of Python, the file
is small, and a changed number is a changed line in a diff.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from benches.loops import CONTROL, FLOOR, SUBJECT
from benches.verdict import Line

_COLOURS = {
    "asyncio": "#8c8c8c",
    "uvloop": "#d95f02",
    "rloop": "#7570b3",
    "rsloop": "#1b9e77",
    "zuvloop": "#e7298a",
    "aiofastnet": "#1f78b4",
    "aiofastnet-uv": "#a6761d",
    "tepal": "#c8102e",
    "floor": "#222222",
}
_LABELS = 250
_WIDTH = 620
_ROW = 15
_TOP = 70
_LOW, _HIGH = 0.25, 16.0
_TICKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def draw(lines: Sequence[Line], columns: Sequence[str], title: str) -> str:
    """The whole file."""
    base = SUBJECT if any(SUBJECT in line.medians for line in lines) else CONTROL
    shown = [line for line in lines if base in line.medians and line.cost(base) > 0]
    height = _TOP + _ROW * len(shown) + 30
    body = [*_frame(columns, base, title, height), *_rows(shown, columns, base)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABELS + _WIDTH + 30}" height="{height}" '
        'font-family="sans-serif" font-size="11">'
    )
    return "\n".join([head, *body, "</svg>", ""])


def _frame(columns: Sequence[str], base: str, title: str, height: int) -> Iterator[str]:
    yield f'<rect width="100%" height="{height}" fill="white"/>'
    yield f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>'
    legend = f"cost as a multiple of {base}'s, logarithmic; right of the line {base} is cheaper"
    yield f'<text x="10" y="37" fill="#555">{legend}</text>'
    for index, name in enumerate(columns):
        x = float(20 + 95 * index)
        yield f'<circle cx="{x}" cy="50" r="4" fill="{_COLOURS.get(name, "#000")}"/><text x="{x + 8}" y="54">{escape(name)}</text>'
    for tick in _TICKS:
        x = _x(tick)
        line = 'stroke="#c8102e" stroke-width="1.5"' if tick == 1 else 'stroke="#ddd"'
        yield f'<line x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - 25}" {line}/>'
        yield f'<text x="{x}" y="{height - 10}" text-anchor="middle" fill="#555">{tick:g} ×</text>'


def _rows(lines: Sequence[Line], columns: Sequence[str], base: str) -> Iterator[str]:
    for index, line in enumerate(lines):
        y = _TOP + _ROW * index + 4
        if index % 2:
            yield f'<rect x="0" y="{y - 8}" width="{_LABELS + _WIDTH + 30}" height="{_ROW}" fill="#000" opacity="0.03"/>'
        mark = ' fill="#c8102e" font-weight="bold"' if line.lost else ""
        yield f'<text x="{_LABELS - 10}" y="{y + 4}" text-anchor="end"{mark}>{escape(line.row.id)}</text>'
        for name in columns:
            if name == base or name not in line.medians or (cost := line.cost(name)) <= 0:
                continue
            ratio = cost / line.cost(base)
            shape = 'fill="none" stroke-width="1.5" stroke' if name == FLOOR else "fill"
            yield (
                f'<circle cx="{_x(ratio)}" cy="{y}" r="4" {shape}="{_COLOURS.get(name, "#000")}">'
                f"<title>{escape(name)} {ratio:.2f} ×</title></circle>"
            )


def _x(ratio: float) -> float:
    """Where a ratio stands; what is off the scale stands at its edge."""
    share = math.log(min(max(ratio, _LOW), _HIGH) / _LOW) / math.log(_HIGH / _LOW)
    return round(_LABELS + share * _WIDTH, 1)
