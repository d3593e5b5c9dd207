"""Keeps what each run brought, and writes conformance/REPORT.md from it.

A run of everything takes an hour, so what was found is kept by suite, Python and loop (`.cache/results/*.json`), and the report
is written from what is there: whoever mends one suite runs that one. Every row has the date of its own run and the commit whose
sources were tested.
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from conformance.exclusions import Exclusion
from conformance.interpreters import ROOT
from conformance.processes import NOT_REACHED
from conformance.suites import SUITES
from conformance.verdicts import KINDS, PythonReport

REPORT = ROOT / "conformance" / "REPORT.md"
ABOUT = {"cpython": "CPython's own `test.test_asyncio`"} | {suite.name: suite.about for suite in SUITES.values()}

WORDS = {
    "failed": "failed",
    "unsteady": "failed among the others of its file, passed without them",
    "known": "fails on asyncio too",
}

Row = dict[str, Any]

HEAD = """# What other people's suites say

Written by `make conformance`; README.md tells what each suite is and what the verdicts mean. *known* is a test that fails on
tepal and on asyncio's own loop alike. The rows for asyncio are the control: the same tests in the same place, on the standard loop;
nothing is excluded there but what cannot be imported.

"""


def keep(folder: Path, suite: str, loop: str, report: PythonReport, entries: list[Exclusion], tested: str) -> None:
    """Keep what a run on one interpreter brought; `tested` is what `sources()` said before it began."""
    outcomes = report.outcomes()
    version = report.interpreter.version
    row = {
        "suite": suite,
        "python": version,
        "loop": loop,
        "date": datetime.date.today().isoformat(),
        "tested": tested if loop == "tepal" else "",
        "packages": [] if report.broken else packages(report.interpreter.python),
        "note": report.note,
        "counts": Counter(outcome.kind for outcome in outcomes),
        "loops": sum(module.ours for module in report.modules),
        "failed": [[outcome.test, last_line(outcome.detail)] for outcome in outcomes if outcome.kind == "failed"],
        "unsteady": [[outcome.test, last_line(outcome.detail)] for outcome in outcomes if outcome.kind == "unsteady"],
        "known": [[outcome.test, last_line(outcome.detail)] for outcome in outcomes if outcome.kind == "known"],
        "excluded": [
            [entry.reason, entry.date.isoformat(), count]
            for entry in entries
            if (count := sum(o.kind == "excluded" and entry.covers(o.test, version) for o in outcomes))
        ],
        "stale": report.stale,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{suite}-{version}-{loop}.json"
    path.write_text(json.dumps(row, indent=1), encoding="utf-8")


def write(folder: Path) -> None:
    """Write the report from all that is kept."""
    rows: list[Row] = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    order = list(ABOUT)
    rows.sort(key=lambda row: (order.index(row["suite"]), version_key(row["python"]), row["loop"] == "asyncio"))
    lines = [
        HEAD,
        f"Machine: {platform.system()} {platform.machine()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}.\n\n",
    ]
    lines.append("| Suite | Python | loop | " + " | ".join(KINDS) + " | loops made | run on |\n")
    lines.append("|---|---|---|" + "--:|" * (len(KINDS) + 1) + "---|\n")
    for row in rows:
        counts = " | ".join(str(row["counts"].get(kind, 0)) for kind in KINDS)
        when = ", ".join(filter(None, (row["date"], row["tested"])))
        lines.append(f"| {row['suite']} | {row['python']} | {row['loop']} | {counts} | {row['loops']} | {when} |\n")
    for suite in order:
        if of_suite := [row for row in rows if row["suite"] == suite]:
            lines += chapter(suite, of_suite)
    REPORT.write_text("".join(lines), encoding="utf-8")


def chapter(suite: str, rows: list[Row]) -> list[str]:
    lines = [f"\n## {suite}: {ABOUT[suite]}\n\n"]
    if with_packages := next((row["packages"] for row in rows if row["packages"]), []):
        lines.append("With " + ", ".join(with_packages) + ".\n\n")
    for row in rows:
        title = f"Python {row['python']}, {row['loop']}"
        if row["note"]:
            lines.append(f"- {title}: not run: {row['note'].strip().splitlines()[-1]}\n")
        for reason, date, count in row["excluded"]:
            lines.append(f"- {title}: {count} excluded, {reason} ({date})\n")
        for test in row["stale"]:
            lines.append(f"- {title}: excluded, and passes: `{test}`\n")
        for kind, words in WORDS.items():
            for test, why in row.get(kind, []):
                lines.append(f"- {title}: {words}: `{test}`: {placeless(why)}\n")
    if len(lines) == 1 or lines[-1].startswith("With "):
        lines.append("Nothing failed, nothing is excluded.\n")
    return lines


def last_line(detail: str) -> str:
    """The line of a traceback that names the error, in one row of the report."""
    lines = [line.strip() for line in detail.partition("\n--- ")[0].splitlines() if line.strip()]
    if lines and (lines[0].endswith("in this test") or lines[0].startswith(NOT_REACHED)):
        return lines[0]
    errors = [line.removeprefix("E").strip() for line in lines if line.startswith("E  ")]
    line = next(iter(errors), lines[-1] if lines else "")
    return line.replace("`", "'").replace("|", "\\|")[:160]


def placeless(text: str) -> str:
    """Without the folders of the machine it ran on, and the addresses of the process."""
    text = text.replace(f"{ROOT}/", "").replace(str(Path.home()), "~")
    return re.sub(r"0x[0-9a-f]{6,}", "0x...", re.sub(r"/tmp/tepal-\w+/", "", text))


def packages(python: str) -> list[str]:
    done = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", "freeze"], capture_output=True, text=True, check=False
    )
    return [line for line in done.stdout.split() if "==" in line]


def sources() -> str:
    """The commit that last changed what goes into the wheel, and whether that has been changed since."""
    parts = ["Cargo.toml", "Cargo.lock", "crates", "python"]
    last, changed = (
        subprocess.run(
            ["git", *words, "--", *parts], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        for words in (["log", "-1", "--format=%h"], ["status", "--porcelain"])
    )
    return (last or "no repository") + (" with changes" if changed else "")


def version_key(version: str) -> list[int]:
    return [int(part) for part in version.rstrip("t").split(".") if part.isdigit()]


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".cache" / "results")
