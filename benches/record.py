"""The raw run, kept by date and machine: every round of every case, beside the medians that the table shows."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from benches import plot
from benches.goals import Outcome
from benches.loops import Found
from benches.model import Metrics, Results
from benches.verdict import Line

FOLDER = Path(__file__).resolve().parent / "results"


def write(
    path: Path,
    header: dict[str, object],
    loops: Sequence[Found],
    columns: Sequence[str],
    lines: Sequence[Line],
    goals: Sequence[Outcome],
    results: Results,
) -> None:
    """Writes ``path`` as JSON, and the plot beside it."""
    document = {
        "header": header,
        "loops": {loop.name: loop.version or {"missing": loop.reason} for loop in loops},
        "rows": [_row(line, results) for line in lines],
        "goals": [{"goal": o.goal.text, "compared": o.compared, "missed": o.missed} for o in goals],
        "samples": {
            case: {loop: _by_metric(rounds) for loop, rounds in of.items()} for case, of in results.samples.items()
        },
        "errors": results.errors,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(document), encoding="utf-8")
    title = f"{header['python']}, {header['machine']}, {str(header['date'])[:10]}"
    path.with_suffix(".svg").write_text(plot.draw(lines, columns, title), encoding="utf-8")


def dumps(document: object) -> str:
    """JSON that a person can read and a diff can show: what holds nothing but numbers and words stands on one line."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    for innermost in (r"\[[^\[\]{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    return text + "\n"


def _by_metric(rounds: Sequence[Metrics]) -> dict[str, list[float]]:
    return {metric: [round(one[metric], 4) for one in rounds] for metric in rounds[0]}


def _row(line: Line, results: Results) -> dict[str, object]:
    numbers = {}
    for loop in line.medians:
        values = results.values(line.case, line.row, loop)
        numbers[loop] = {
            "median": round(statistics.median(values), 4),
            "min": round(min(values), 4),
            "max": round(max(values), 4),
        }
    return {
        "id": line.row.id,
        "unit": line.row.unit,
        "better": line.row.better,
        "loops": numbers,
        "best_rival": line.best_rival,
        "ratio": line.ratio and round(line.ratio, 4),
        "lost": line.lost,
    }
