"""Turns the verdicts into what a person reads: a matrix, the failures, the state of the exclusions, one closing line."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from conformance.cpython.suite import ModuleReport, PythonReport

KINDS = ("passed", "failed", "known", "skipped", "excluded")


def totals(reports: list[PythonReport]) -> Counter[str]:
    """Add up all interpreters."""
    total = Counter(dict.fromkeys(KINDS, 0))
    for report in reports:
        total.update(report.totals())
        total["failed"] += report.broken
    return total


def show(reports: list[PythonReport], loop: str, unused: list[str], *, lines: int) -> None:
    """Print everything; each failure is cut to its last `lines` lines."""
    for report in reports:
        print(f"\n== Python {report.interpreter.version} on {loop}")
        if report.note:
            print(report.note)
            continue
        show_matrix(report)
    for report in reports:
        for outcome in report.outcomes():
            if outcome.kind == "failed":
                print(f"\nFAILED {outcome.test} [{report.interpreter.version}]")
                print("\n".join("    " + line for line in outcome.detail.splitlines()[-lines:]))
    for report in reports:
        for outcome in report.outcomes():
            if outcome.kind == "known":
                last = (outcome.detail.strip().splitlines() or [""])[-1]
                print(f"fails on asyncio too: {outcome.test} [{report.interpreter.version}]: {last}")
    for report in reports:
        for test in report.stale:
            print(f"stale exclusion, this test passes: {test} [{report.interpreter.version}]")
    for pattern in unused:
        print(f"unused exclusion, it matches no test: {pattern}")


def show_matrix(report: PythonReport) -> None:
    print(f"{'module':26}{'passed':>9}{'failed':>9}{'skipped':>9}{'excluded':>9}{'on asyncio too':>16}{'loops made':>12}")
    for module in report.modules:
        print(row(module.module, *(module.count(kind) for kind in KINDS), module.ours) + note(module))
    count = report.totals()
    print(row("all", *(count[kind] for kind in KINDS), sum(module.ours for module in report.modules)))
    loopless = sum(outcome.kind == "passed" and not outcome.loops for outcome in report.outcomes())
    print(f"{count['passed'] - loopless} of the passed tests made a loop of ours, {loopless} need none or mock it")


def row(name: str, passed: int, failed: int, known: int, skipped: int, excluded: int, loops: int) -> str:
    return f"{name:26}{passed:9}{failed:9}{skipped:9}{excluded:9}{known:16}{loops:12}"


def note(module: ModuleReport) -> str:
    return f"  {module.note}" if module.note else ""


def write_json(path: Path, reports: list[PythonReport], loop: str) -> None:
    """Write every outcome with its full detail."""
    data = [
        {
            "loop": loop,
            "python": report.interpreter.version,
            "note": report.note,
            "stale": report.stale,
            "modules": [asdict(module) for module in report.modules],
        }
        for report in reports
    ]
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")
