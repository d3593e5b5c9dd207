"""The command: `python -m conformance [SUITE ...]`. README.md tells what there is and how to run some of it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from conformance import cpython, exclusions, foreign, interpreters, processes, record, report
from conformance.cpython import modules as cpython_modules
from conformance.cpython import suite as cpython_suite
from conformance.exclusions import Exclusion
from conformance.interpreters import Interpreter, Unprepared
from conformance.sources import lay_out
from conformance.suites import SUITES
from conformance.verdicts import PythonReport

NAMES = ["cpython", *SUITES]
CPYTHON_LIMIT = 90.0
"""Seconds for one class of CPython's, as `python -m conformance.cpython` has it."""


def main() -> int:
    """Run the suites on the chosen interpreters and return the exit code."""
    options = parse()
    processes.end_with_children()
    begin = time.monotonic()
    total = report.totals([])
    for name in options.suite or NAMES:
        for base, version in interpreters.choose(options.python):
            for loop in ["tepal", "asyncio"] if options.control else [options.loop]:
                done = run(name, base, version, loop, options)
                report.show([done], f"{loop}: {name}", done.unused, lines=options.lines)
                if loop == options.loop:
                    total.update(report.totals([done]))
    if options.report:
        record.write(options.cache_dir / "results")
    print(f"\n{total['excluded']} excluded, {total['known']} fail on asyncio too, {time.monotonic() - begin:.0f} s")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] else 0


def run(name: str, base: str, version: str, loop: str, options: argparse.Namespace) -> PythonReport:
    """Run one suite on one interpreter and one loop, and keep what it brought unless only a part was asked for."""
    tested = record.sources()
    try:
        done, entries = (run_cpython if name == "cpython" else run_foreign)(name, base, version, loop, options)
    except Unprepared as trouble:
        return PythonReport(Interpreter(base, version, ""), note=str(trouble), broken=not options.may_skip)
    if not options.file and not options.match:
        record.keep(options.cache_dir / "results", name, loop, done, entries, tested)
        ran = [module.module for module in done.modules]
        done.unused = exclusions.unused(entries, ran, [version]) if loop == "tepal" else []
    return done


def run_foreign(
    name: str, base: str, version: str, loop: str, options: argparse.Namespace
) -> tuple[PythonReport, list[Exclusion]]:
    suite = SUITES[name]
    entries = exclusions.read(suite.exclusions) if suite.exclusions.exists() else []
    if loop == "asyncio":  # nothing is excluded there but files that cannot even be imported
        entries = [entry for entry in entries if all(pattern.endswith(".py::*") for pattern in entry.ids)]
    interpreter = prepare(base, version, options, suite.requirements)
    root = lay_out(suite, interpreter.python, options.cache_dir)
    plan = foreign.Plan(suite, loop, root, options.jobs, options.file, options.match, entries)
    return foreign.run_suite(interpreter, plan), entries


def run_cpython(
    name: str, base: str, version: str, loop: str, options: argparse.Namespace
) -> tuple[PythonReport, list[Exclusion]]:
    entries = [] if loop == "asyncio" else exclusions.read(cpython.EXCLUSIONS)
    modules = options.file or cpython_modules.MODULES
    ours = loop == "tepal"
    runs = cpython_modules.runs(modules, "both" if ours else "default", native=ours)
    plan = cpython_suite.Plan(loop, runs, options.match, options.jobs, CPYTHON_LIMIT, entries)
    return cpython_suite.run_suite(prepare(base, version, options), plan), entries


def prepare(base: str, version: str, options: argparse.Namespace, requirements: Path | None = None) -> Interpreter:
    # With tepal's wheel for the control as well: the environment of a suite is one.
    return interpreters.prepare(
        base, version, loop="tepal", venvs=options.venv_dir, wheels=options.wheel_dir, requirements=requirements
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description="Other people's suites on our loop.")
    root = interpreters.ROOT
    parser.add_argument("suite", nargs="*", metavar="SUITE", help=f"default: all ({', '.join(NAMES)})")
    parser.add_argument("--python", nargs="+", default=[], metavar="PATH", help="default: what scripts/pythons lists")
    parser.add_argument("--file", nargs="+", default=[], metavar="NAME", help="only these files of tests (test_tcp)")
    parser.add_argument("--match", default="", metavar="TEXT", help="only tests whose id contains this")
    parser.add_argument("--loop", choices=("tepal", "asyncio"), default="tepal")
    parser.add_argument("--control", action="store_true", help="run everything on asyncio's own loop, too")
    parser.add_argument("--report", action="store_true", help="write conformance/REPORT.md from all that was run")
    parser.add_argument("--may-skip", action="store_true", help="skip a suite whose packages cannot be had")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--lines", type=int, default=25, help="how much of each failure to print")
    parser.add_argument("--wheel-dir", type=Path, default=root / "dist", help="default: dist")
    parser.add_argument("--venv-dir", type=Path, default=root / ".venvs", help="default: .venvs")
    parser.add_argument("--cache-dir", type=Path, default=root / ".cache", help="default: .cache")
    options = parser.parse_args()
    if unknown := [name for name in options.suite if name not in NAMES]:
        parser.error(f"no suite {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
