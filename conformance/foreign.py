"""Runs a suite of pytest's on one interpreter, each file in a process of its own, and gives each test its verdict.

The same rules as for CPython's own tests (`cpython/suite.py`): what fails on our loop is run on asyncio's in the same breath,
and is `known` if it fails there, too; if it passes there, and passes on ours as well when it is run without the others of its
file, it is `unsteady`; what is excluded is run as well, in a process apart, only to see whether its entry is
stale; a suite in which tests passed and no loop of ours was made is a failure of the runner's. A test that hangs or dies costs
itself alone: the next process goes on behind it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from conformance.exclusions import Exclusion, expression
from conformance.interpreters import Interpreter
from conformance.processes import INSIDE, NOT_REACHED, Event, tail, talk
from conformance.suites import Suite
from conformance.verdicts import ModuleReport, Outcome, Progress, PythonReport

FILE_LIMIT = 1500.0
"""Seconds for a file of tests. Each test has its own limit, which ends the process; this is for one that cannot even do that."""


@dataclass(frozen=True)
class Plan:
    """What to run and how."""

    suite: Suite
    loop: str
    root: Path
    """The folder of the suite as it was laid out."""
    jobs: int = 2
    files: Sequence[str] = ()
    """Only these files of tests, by their names without `.py`; empty for all."""
    match: str = ""
    """Only tests whose id contains this."""
    exclusions: list[Exclusion] = field(default_factory=list)

    def chosen(self) -> list[Path]:
        """The files of tests to run, the largest first so that two jobs end together."""
        found = sorted((self.root / self.suite.tests).rglob("test_*.py"), key=lambda path: -path.stat().st_size)
        found = [path for path in found if not self.suite.leave_out or self.suite.leave_out not in path.parts]
        return [path for path in found if not self.files or path.stem in self.files]


def run_suite(interpreter: Interpreter, plan: Plan) -> PythonReport:
    """Run the files of the plan on one interpreter."""
    report = PythonReport(interpreter)
    files = plan.chosen()
    if not files:
        report.note, report.broken = f"no file of tests in {plan.root / plan.suite.tests}", True
    progress = Progress(f"{interpreter.version} {plan.suite.name}")
    with ThreadPoolExecutor(plan.jobs) as pool:
        for done in pool.map(lambda path: FileRun(interpreter, plan, path, report).judge(), files):
            report.modules.append(done)
            progress.say(done)
    ran = any(outcome.kind == "passed" for outcome in report.outcomes())
    if plan.loop != "asyncio" and not plan.match and ran and not any(module.ours for module in report.modules):
        trouble = Outcome("(place)", "failed", f"no {plan.loop} loop was made in this suite")
        report.modules.append(ModuleReport("(place)", [trouble]))
    return report


@dataclass
class Told:
    """What one process brought."""

    outcomes: list[Outcome]
    excluded: list[str]
    ours: int
    standard: int
    note: str = ""

    def not_reached(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.detail.startswith(NOT_REACHED)]


class FileRun:
    """One file of tests."""

    def __init__(self, interpreter: Interpreter, plan: Plan, path: Path, report: PythonReport) -> None:
        self.interpreter = interpreter
        self.plan = plan
        self.path = path
        self.report = report
        self.lock = threading.Lock()
        version = interpreter.version
        self.entries = [entry for entry in plan.exclusions if entry.applies_to(version)]

    def judge(self) -> ModuleReport:
        begin = time.monotonic()
        name = str(self.path.relative_to(self.plan.root))
        module = ModuleReport(name)
        if self.excluded_whole(name):
            module.outcomes = [Outcome(f"{name}::(all)", "excluded")]
            return module
        told = self.process(self.plan.loop)
        failed = [outcome for outcome in told.outcomes if outcome.kind == "failed"]
        # A file that does not start, cannot be imported or ends badly is no test that asyncio could fail as well: it stays failed.
        tests = [outcome for outcome in failed if not outcome.test.rpartition("::")[2].startswith("(")]
        if tests and self.plan.loop != "asyncio":
            self.compare(tests)
        if told.excluded:
            again = self.process(self.plan.loop, only=told.excluded)
            self.report.stale += [outcome.test for outcome in again.outcomes if outcome.kind == "passed"]
            for test in told.excluded:
                for entry in self.entries:
                    entry.covers(test, self.interpreter.version)
        module.outcomes = told.outcomes + [Outcome(test, "excluded") for test in told.excluded]
        module.ours, module.note = told.ours, told.note
        module.seconds = time.monotonic() - begin
        return module

    def excluded_whole(self, name: str) -> bool:
        """Whether the list has all of the file, by exactly this id: such a file may not even be imported."""
        whole = f"{name}::*"
        entries = [entry for entry in self.entries if whole in entry.ids]
        for entry in entries:
            entry.used.add(whole)
        return bool(entries)

    def compare(self, failed: list[Outcome]) -> None:
        """Run on asyncio what failed on our loop."""
        told = self.process("asyncio", only=[outcome.test for outcome in failed])
        control = {outcome.test: outcome for outcome in told.outcomes}
        for outcome in failed:
            same = control.get(outcome.test)
            if same is not None and same.kind == "failed":
                outcome.kind, outcome.detail = "known", same.detail
        # The control ran them without the file's other tests, whose litter may be what they failed of. So must we.
        if left := [outcome for outcome in failed if outcome.kind == "failed" and outcome.test in control]:
            again = self.process(self.plan.loop, only=[outcome.test for outcome in left])
            passed = {outcome.test for outcome in again.outcomes if outcome.kind == "passed"}
            for outcome in left:
                if outcome.test in passed:
                    outcome.kind = "unsteady"

    def process(self, loop: str, only: list[str] | None = None) -> Told:
        """Run the file, or some of its tests; when a test ends the process, go on behind it with another."""
        told = self.start(loop, only)
        rest = told.not_reached()
        while rest:
            more = self.start(loop, [outcome.test for outcome in rest])
            told.outcomes = [outcome for outcome in told.outcomes if outcome not in rest] + more.outcomes
            told.ours += more.ours
            left = more.not_reached()
            if len(left) >= len(rest):  # it does not come to any of them
                break
            rest = left
        return told

    def start(self, loop: str, only: list[str] | None) -> Told:
        plan = self.plan
        request = {
            "loop": loop,
            "limit": plan.suite.limit,
            "only": only,
            "exclude": [expression(pattern) for entry in self.entries for pattern in entry.ids],
            "match": plan.match,
        }

        def command(events: Path) -> list[str]:
            environment["CONFORMANCE"] = json.dumps(request | {"out": str(events)})
            words = [self.interpreter.python, "-P", "-m", "pytest", "-p", "narrating", "-p", "no:cacheprovider", "-q"]
            words += ["--rootdir", str(plan.root), *plan.suite.arguments, "-o", "faulthandler_timeout=0"]
            # Tests may remove or outlive the folder they run in, so it is the process's own; the suite finds its files by path.
            return [*words, "--basetemp", str(events.with_name("tmp")), str(self.path)]

        environment = Environment(plan)
        events, output, end = talk(command, FILE_LIMIT, environment)
        return self.read(events, output, end, loop)

    def read(self, events: list[Event], output: str, end: str, loop: str) -> Told:
        named: dict[str, list[Event]] = {}
        for event in events:
            named.setdefault(event["event"], []).append(event)
        ends = {event["test"]: event for event in named.get("end", [])}
        running = next((event["test"] for event in named.get("start", []) if event["test"] not in ends), None)
        done = next(iter(named.get("done", [])), None)
        outcomes = []
        for event in named.get("collected", []):
            test = event["test"]
            if test in ends:
                told = ends[test]
                outcomes.append(Outcome(test, told["outcome"], told["detail"], told["loops"]))
            elif test == running:
                outcomes.append(Outcome(test, "failed", f"{end} in this test\n{tail(output)}"))
            else:
                outcomes.append(Outcome(test, "failed", f"{NOT_REACHED}: {end} in {running or 'no test'}"))
        name = str(self.path.relative_to(self.plan.root))
        for event in named.get("broken", []):
            outcomes.append(Outcome(f"{name}::(import)", "failed", f"{event['where']}\n{event['detail']}"))
        # Pytest's own ends: 1 when a test failed, 5 when there was none to run.
        if done is None and running is None and not named.get("collected"):
            outcomes.append(Outcome(f"{name}::(start)", "failed", f"{end} before the last test\n{tail(output)}"))
        elif done is not None and end not in ("ended", "exited with 1", "exited with 5") and not named.get("broken"):
            outcomes.append(Outcome(f"{name}::(exit)", "failed", f"{end} after the last test\n{tail(output)}"))
        note = next((event["detail"] for event in named.get("module-skip", [])), "")
        ours, standard = (done["ours"], done["standard"]) if done else (sum(e["loops"] for e in ends.values()), 0)
        excluded = [event["test"] for event in named.get("excluded", [])]
        if loop != "asyncio" and standard:
            note = f"{note} {standard} loops of the standard class were made by another name".strip()
        return Told(outcomes, excluded, ours, standard, note)


class Environment(dict[str, str]):
    """What a suite's process has in its environment."""

    def __init__(self, plan: Plan) -> None:
        path = [str(INSIDE), str(plan.root)] if plan.suite.source else [str(INSIDE)]
        super().__init__(PYTHONPATH=os.pathsep.join(path), PYTHONDONTWRITEBYTECODE="1")
