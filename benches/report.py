"""The table on the terminal: a row per case, a column per loop, and who is ahead. Lost rows are marked, none is left out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from benches.goals import Outcome
from benches.loops import NAMES, Found
from benches.verdict import Line

_COLUMN = 10
_GAP = 2
#: An id of so many words names an interface in its second, and each interface is a block of its own.
_DEEP = 3
#: Rows named under a missed goal; lost rows are all listed above it anyway.
_SHOWN = 6


def render(
    header: dict[str, object],
    loops: Sequence[Found],
    columns: Sequence[str],
    lines: Sequence[Line],
    goals: Sequence[Outcome],
) -> str:
    """All that a run has to say."""
    return "\n".join(
        [
            *_header(header, loops),
            *_table(columns, lines),
            *_losses(lines),
            *_goals(goals),
            *_troubles(lines),
        ]
    )


def _header(header: dict[str, object], loops: Sequence[Found]) -> Iterator[str]:
    yield "  ".join(f"{name}: {header[name]}" for name in ("date", "machine", "cores"))
    yield "  ".join(f"{name}: {header[name]}" for name in ("kernel", "python", "mode", "rounds", "load_average"))
    yield "loops: " + ", ".join(f"{loop.name} {loop.version}" for loop in loops if loop.version)
    for loop in loops:
        if loop.reason:
            yield f"not here: {loop.name} ({loop.reason})"


def _table(columns: Sequence[str], lines: Sequence[Line]) -> Iterator[str]:
    width = max((len(line.row.id) for line in lines), default=0) + _GAP
    for _, members in itertools.groupby(lines, _group):
        group = list(members)
        # A layer or the floor has no column where it has no part.
        shown = {
            name: max(_COLUMN, len(name) + _GAP)
            for name in columns
            if name in NAMES or any(name in line.medians or name in line.errors for line in group)
        }
        yield ""
        yield (" " * width + "".join(f"{name:>{size}}" for name, size in shown.items()) + "   tepal / best rival")
        for line in group:
            cells = "".join(f"{_cell(line, name):>{size}}" for name, size in shown.items())
            yield f"{line.row.id:<{width}}{cells}   {_ratio(line):<26}{line.row.unit}{' ↑' if line.row.better == 'higher' else ''}"
    yield ""
    yield "Medians of all rounds. The ratio is of costs: below 1, tepal is ahead. ↑: more is better (its ratio is inverted)."


def _group(line: Line) -> str:
    words = line.case.id.split("/")
    return words[0] if len(words) < _DEEP else "/".join(words[:2])


def _cell(line: Line, loop: str) -> str:
    if loop in line.medians:
        return number(line.medians[loop])
    return "failed" if loop in line.errors else "-"


def _ratio(line: Line) -> str:
    if line.ratio is None:
        return "LOST" if line.lost else ""
    return f"{line.ratio:.2f} {line.best_rival}{'  LOST' if line.lost else ''}"


def _losses(lines: Sequence[Line]) -> Iterator[str]:
    compared = [line for line in lines if line.ratio is not None or line.lost]
    lost = [line for line in compared if line.lost]
    if compared:
        yield (
            f"tepal is ahead in {len(compared) - len(lost)} of {len(compared)} rows" + ("; it loses:" if lost else ".")
        )
    for line in sorted(lost, key=lambda line: line.ratio or float("inf"), reverse=True):
        yield f"  {line.row.id:<36} {_ratio(line)}"


def _goals(goals: Sequence[Outcome]) -> Iterator[str]:
    if goals:
        yield ""
        yield "Goals:"
    for outcome in goals:
        state = f"missed in {len(outcome.missed)} of {outcome.compared}" if outcome.missed else "met"
        yield f"  {state:<18} {outcome.goal.text}"
        worst = sorted(outcome.missed.items(), key=lambda item: -(item[1] or math.inf))
        for row, factor in worst[:_SHOWN]:
            yield f"  {'':<18}   {row}: {_excess(factor)}"
        if len(worst) > _SHOWN:
            yield f"  {'':<18}   and {len(worst) - _SHOWN} more, all in the JSON"


def _excess(factor: float | None) -> str:
    if factor is None:
        return "tepal failed"
    return f"{factor:.2f} × what was allowed" if factor else "nothing was allowed"


def _troubles(lines: Sequence[Line]) -> Iterator[str]:
    said = {(line.case.id, loop): reason for line in lines for loop, reason in line.errors.items()}
    if said:
        yield ""
        yield "Failed:"
    for (case, loop), reason in said.items():
        yield f"  {case} on {loop}: {reason}"


def number(value: float) -> str:
    """Three digits that matter, and no more."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
