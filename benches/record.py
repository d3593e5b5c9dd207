"""The raw run, kept by date and machine: every round of every case, beside the medians that the table shows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from benches import plot
from benches.goals import Outcome
from benches.loops import Found
from benches.model import Results
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
        "samples": results.samples,
        "errors": results.errors,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    title = f"{header['python']}, {header['machine']}, {str(header['date'])[:10]}"
    path.with_suffix(".svg").write_text(plot.draw(lines, columns, title), encoding="utf-8")


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
