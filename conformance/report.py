"""Turns the verdicts into what a person reads: a matrix, the failures, the state of the exclusions, one closing line."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from conformance.processes import NOT_REACHED
from conformance.verdicts import KINDS, PythonReport


def totals(reports: list[PythonReport]) -> Counter[str]:
    """Add up all interpreters."""
    total = Counter(dict.fromkeys(KINDS, 0))
    for report in reports:
        total.update(report.totals())
        total["failed"] += report.broken
        total["skipped"] += bool(report.note) and not report.broken  # an interpreter without the tests
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
        show_failures(report, lines)
    for report in reports:
        for outcome in report.outcomes():
            if outcome.kind == "known":
                last = (outcome.detail.strip().splitlines() or [""])[-1]
                print(f"fails on asyncio too: {outcome.test} [{report.interpreter.version}]: {last}")
            if outcome.kind == "unsteady":
                print(f"failed among others, passed without them: {outcome.test} [{report.interpreter.version}]")
    for report in reports:
        for test in report.stale:
            print(f"stale exclusion, this test passes: {test} [{report.interpreter.version}]")
    for pattern in unused:
        print(f"unused exclusion, it matches no test: {pattern}")


def show_failures(report: PythonReport, lines: int) -> None:
    unreached: Counter[str] = Counter()
    for outcome in report.outcomes():
        if outcome.kind == "failed" and outcome.detail.startswith(NOT_REACHED):
            unreached[f"{outcome.test.rpartition('.')[0]}: {outcome.detail}"] += 1
        elif outcome.kind == "failed":
            print(f"\nFAILED {outcome.test} [{report.interpreter.version}]")
            print("\n".join("    " + line for line in outcome.detail.splitlines()[-lines:]))
    for where, count in unreached.items():
        print(f"\nFAILED {count} tests of {where} [{report.interpreter.version}]")


def show_matrix(report: PythonReport) -> None:
    print(f"{'module':26}" + "".join(f"{kind:>10}" for kind in KINDS) + f"{'loops made':>12}")
    for module in report.modules:
        counts = Counter(outcome.kind for outcome in module.outcomes)
        print(row(module.module, counts, module.ours) + (f"  {module.note}" if module.note else ""))
    print(row("all", report.totals(), sum(module.ours for module in report.modules)))
    loopless = sum(outcome.kind == "passed" and not outcome.loops for outcome in report.outcomes())
    print(f"of the passed tests {report.totals()['passed'] - loopless} made a loop, {loopless} need none or mock it")


def row(name: str, counts: Counter[str], loops: int) -> str:
    return f"{name:26}" + "".join(f"{counts[kind]:10}" for kind in KINDS) + f"{loops:12}"


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
