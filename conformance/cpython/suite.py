"""Runs the modules on one interpreter and gives each test its verdict.

A test that fails on our loop is run on asyncio's own in the same breath: what fails there too on this machine is `known`, said
so, and not held against us. An excluded test is run as well, in a process apart, only to see whether its entry is stale.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from conformance.cpython import gauge, modules
from conformance.cpython.processes import ClassRun, cpython, list_tests, run_class
from conformance.exclusions import Exclusion
from conformance.interpreters import Interpreter
from conformance.processes import Event, tail
from conformance.verdicts import ModuleReport, Outcome, Progress, PythonReport


@dataclass(frozen=True)
class Plan:
    """What to run and how."""

    loop: str
    modules: list[str]
    """Names of runs (`modules.runs`)."""
    match: str
    """Only tests whose id contains this."""
    jobs: int
    limit: float
    exclusions: list[Exclusion]


def run_suite(interpreter: Interpreter, plan: Plan) -> PythonReport:
    """Run all modules of the plan on one interpreter."""
    report = PythonReport(interpreter)
    names = list(dict.fromkeys(modules.split(run)[0] for run in plan.modules))
    events, output = list_tests(interpreter, plan.loop, names)
    about: Event = next((event for event in events if event["event"] == "python"), {})
    if not about:
        report.note, report.broken = f"{interpreter.python} does not run the bootstrap:\n{tail(output)}", True
    elif not about["suite"]:
        report.note = "this build lacks test.test_asyncio: skipped"
    elif about["loop"] is None:
        report.note, report.broken = f"{plan.loop} cannot be imported:\n{tail(output)}", True
    elif wrong := gauge.check(interpreter, plan.loop, plan.jobs):
        report.note, report.broken = "\n".join(["the runner misjudges its samples:", *wrong]), True
    if report.note:
        return report
    listed = {event["module"]: event for event in events if event["event"] == "module"}
    with ThreadPoolExecutor(plan.jobs) as pool:
        progress = Progress(interpreter.version)
        for module in plan.modules:
            listing = listed.get(modules.split(module)[0], {"broken": tail(output)})
            ModuleRun(report, plan, module, progress).start(pool, listing)
    order = {module: place for place, module in enumerate(plan.modules)}
    report.modules.sort(key=lambda module: order[module.module])
    return report


class ModuleRun:
    """One module: its classes run side by side, the last one to end closes the account."""

    def __init__(self, report: PythonReport, plan: Plan, module: str, progress: Progress) -> None:
        self.report = report
        self.plan = plan
        self.progress = progress
        self.module = ModuleReport(module)
        self.name, self.mark = modules.split(module)
        self.lock = threading.Lock()
        self.open_classes = 0

    def start(self, pool: ThreadPoolExecutor, listing: Event) -> None:
        if "skipped" in listing:
            self.module.note = listing["skipped"]
        elif "broken" in listing:
            self.fail("(import)", listing["broken"])
        wanted = []
        for title, tests in listing.get("classes", {}).items():
            if chosen := [test for test in tests if self.plan.match in f"{self.name}.{title}.{test}"]:
                wanted.append((title, chosen))
        self.open_classes = len(wanted)
        if not wanted:
            self.close()
        for title, tests in wanted:
            pool.submit(self.run, title, tests)

    def run(self, title: str, tests: list[str]) -> None:
        try:
            self.judge(title, tests)
        except Exception as error:  # noqa: BLE001  a thread of a pool would keep it to itself
            self.fail(f"{title}.(runner)", repr(error))
        with self.lock:
            self.open_classes -= 1
            last = self.open_classes == 0
        if last:
            self.close()

    def judge(self, title: str, tests: list[str]) -> None:
        name, python = self.name, self.report.interpreter.version
        excluded = [test for test in tests if self.exclusion(f"{title}.{test}", python)]
        asked = [test for test in tests if test not in excluded]
        run = self.process(title, asked) if asked else ClassRun()
        failed = [outcome for outcome in run.outcomes if outcome.kind == "failed"]
        if failed and self.plan.loop != "asyncio":
            self.compare(title, asked, failed)
        stale = []
        if excluded:
            stale = [outcome.test for outcome in self.process(title, excluded).outcomes if outcome.kind == "passed"]
        run.outcomes += [Outcome(f"{name}.{title}.{test}", "excluded") for test in excluded]
        for outcome in run.outcomes:
            outcome.test = self.module.module + outcome.test.removeprefix(name)
        with self.lock:
            self.module.outcomes += run.outcomes
            self.module.ours += run.ours
            self.module.seconds += run.seconds
            self.report.stale += stale

    def exclusion(self, test: str, python: str) -> Exclusion | None:
        """The entry for a test: by the module's name it holds for every run of it, by the run's for that one."""
        ids = (f"{self.name}.{test}", f"{self.module.module}.{test}")
        with self.lock:
            entries = (entry for entry in self.plan.exclusions if any(entry.covers(name, python) for name in ids))
            return next(entries, None)

    def process(self, title: str, tests: list[str], loop: str = "") -> ClassRun:
        plan = self.plan
        source = cpython(self.name)
        # On asyncio's loop, for comparison, a test of the classes is run on asyncio's own.
        mark = "" if loop == "asyncio" and self.mark in modules.OURS else self.mark
        return run_class(self.report.interpreter, loop or plan.loop, source, title, tests, plan.limit, mark=mark)

    def compare(self, title: str, asked: list[str], failed: list[Outcome]) -> None:
        """Run on asyncio what failed on our loop."""
        prefix = f"{self.name}.{title}."
        again = [test for test in asked if any(outcome.test == prefix + test for outcome in failed)]
        if not again:
            return
        control = {outcome.test: outcome for outcome in self.process(title, again, loop="asyncio").outcomes}
        for outcome in failed:
            same = control.get(outcome.test)
            if same is not None and same.kind == "failed":
                outcome.kind, outcome.detail = "known", same.detail

    def fail(self, where: str, detail: str) -> None:
        with self.lock:
            self.module.outcomes.append(Outcome(f"{self.module.module}.{where}", "failed", detail))

    def close(self) -> None:
        module = self.module
        module.outcomes.sort(key=lambda outcome: outcome.test)
        # The proof that the loop was in place at all. A filtered run may well leave out the tests that need a loop.
        ran = any(outcome.kind == "passed" for outcome in module.outcomes)
        needs_loop = self.plan.loop != "asyncio" and self.name not in modules.LOOPLESS
        if needs_loop and not self.plan.match and ran and not module.ours:
            self.fail("(place)", f"no {self.plan.loop} loop was made in this module")
        self.report.modules.append(module)
        self.progress.say(module)
