"""The command: `python -m conformance.cpython`. See the package's docstring."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from conformance import exclusions, interpreters, processes, report
from conformance.cpython import EXCLUSIONS
from conformance.cpython.modules import ENGINES, MODULES, runs
from conformance.cpython.suite import Plan, run_suite
from conformance.verdicts import PythonReport


def main() -> int:
    """Run the suite on the chosen interpreters and return the exit code."""
    options = parse()
    processes.end_with_children()
    entries = [] if options.loop == "asyncio" else exclusions.read(EXCLUSIONS)
    engine = options.tls_engine if options.loop == "tepal" else "default"
    modules = runs(options.module, engine, native=options.loop == "tepal")
    plan = Plan(options.loop, modules, options.match, options.jobs, options.limit, entries)
    begin = time.monotonic()
    reports, controls = [], []
    for base, version in interpreters.choose(options.python):
        interpreter = interpreters.Interpreter(base, version, "")
        try:
            interpreter = interpreters.prepare(
                base, version, loop=plan.loop, venvs=options.venv_dir, wheels=options.wheel_dir, dev=options.dev
            )
        except interpreters.Unprepared as trouble:
            reports.append(PythonReport(interpreter, note=str(trouble), broken=True))
            continue
        reports.append(run_suite(interpreter, plan))
        if options.control and plan.loop != "asyncio":
            bare = Plan("asyncio", options.module, plan.match, plan.jobs, plan.limit, [])
            controls.append(run_suite(interpreter, bare))
    idle = []
    if not plan.match:
        idle = exclusions.unused(
            entries, options.module, [done.interpreter.version for done in reports if done.modules]
        )
    if controls:
        report.show(controls, "asyncio (the control)", [], lines=options.lines)
    report.show(reports, plan.loop, idle, lines=options.lines)
    if options.json:
        report.write_json(options.json, reports, plan.loop)
    total = report.totals(reports)
    print(
        f"\nCPython's asyncio tests on {plan.loop}: {total['excluded']} excluded (exclusions.toml), "
        f"{total['known']} fail on asyncio too, {time.monotonic() - begin:.0f} s"
    )
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] or not reports else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m conformance.cpython", description="CPython's own asyncio tests, with our loop in place."
    )
    root = interpreters.ROOT
    parser.add_argument("--python", nargs="+", default=[], metavar="PATH", help="default: what scripts/pythons lists")
    parser.add_argument("--module", nargs="+", default=MODULES, metavar="NAME", help="default: see modules.py")
    parser.add_argument("--match", default="", metavar="TEXT", help="only tests whose id contains this")
    parser.add_argument("--loop", choices=("tepal", "asyncio", "uvloop"), default="tepal")
    parser.add_argument(
        "--tls-engine", choices=ENGINES, default="both", help="bio: through Python's session objects (default: both)"
    )
    parser.add_argument("--dev", action="store_true", help="in Python's development mode: every loop in debug mode")
    parser.add_argument("--control", action="store_true", help="run everything on asyncio's own loop, too")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=90, metavar="SECONDS", help="for one class (default: 90)")
    parser.add_argument("--lines", type=int, default=25, help="how much of each failure to print")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every outcome there")
    parser.add_argument("--wheel-dir", type=Path, default=wheel_dir(), help="default: dist")
    parser.add_argument("--venv-dir", type=Path, default=root / ".venvs", help="default: .venvs")
    return parser.parse_args()


def wheel_dir() -> Path:
    # Whoever sends cargo's output elsewhere has a reason, mostly another C library, and it holds for wheels, too.
    target = os.environ.get("CARGO_TARGET_DIR")
    return Path(target, "dist") if target else interpreters.ROOT / "dist"


if __name__ == "__main__":
    sys.exit(main())
