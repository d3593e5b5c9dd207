"""Runs test classes in the tested interpreter, each in a process of its own, and reads what became of each test.

Of the ways in which a process may end (`conformance/processes.py`) only one is good, and also then the exit itself must be clean: a
loop may well crash or hang while the interpreter ends. The tests that a process did not come to count as failed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from conformance.interpreters import Interpreter
from conformance.processes import NOT_REACHED, Event, tail, talk
from conformance.verdicts import Outcome

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


@dataclass(frozen=True)
class Source:
    """Where a test module is imported from."""

    package: str
    module: str
    path: str = ""
    """A folder to look in first; empty for the standard library."""


def cpython(module: str) -> Source:
    """One of the interpreter's own asyncio test modules."""
    return Source("test.test_asyncio.", module)


@dataclass
class ClassRun:
    """What one process brought."""

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    ours: int = 0
    standard: int = 0


def list_tests(interpreter: Interpreter, loop: str, modules: list[str]) -> tuple[list[Event], str]:
    """Ask the interpreter what it has; returns the events and what it wrote on its standard streams."""
    request = {"command": "list", "loop": loop, "modules": modules}
    events, output, _ = ask(interpreter, request, limit=60)
    return events, output


def run_class(
    interpreter: Interpreter,
    loop: str,
    source: Source,
    title: str,
    tests: list[str],
    limit: float,
    *,
    mark: str = "",
) -> ClassRun:
    """Run some tests of one class; the mark says in whose place ours stands (`modules.py`)."""
    request = {
        "command": "run",
        "loop": loop,
        "module": source.package + source.module,
        "path": source.path,
        "class": title,
        "tests": tests,
        "limit": limit,
        "mark": mark,
    }
    begin = time.monotonic()
    events, output, end = ask(interpreter, request, limit)
    run = ClassRun(seconds=time.monotonic() - begin)
    ends = {event["test"]: event for event in events if event["event"] == "end"}
    started = [event["test"] for event in events if event["event"] == "start"]
    running = next((test for test in started if test not in ends), None)
    done = next((event for event in events if event["event"] == "done"), None)
    prefix = f"{source.module}.{title}."
    for test in tests:
        if test in ends:
            event = ends[test]
            run.outcomes.append(Outcome(prefix + test, event["outcome"], event["detail"], event["loops"]))
        elif test == running:
            run.outcomes.append(Outcome(prefix + test, "failed", f"{end} in this test\n{tail(output)}"))
        elif skipped := next((event["detail"] for event in events if event["event"] == "fixture-skip"), None):
            run.outcomes.append(Outcome(prefix + test, "skipped", skipped))
        else:
            why = (
                "its class or module could not be set up" if done else f"{NOT_REACHED}: {end} in {running or 'no test'}"
            )
            run.outcomes.append(Outcome(prefix + test, "failed", why))
    for event in events:
        if event["event"] == "fixture":
            run.outcomes.append(Outcome(f"{prefix}({event['test']})", "failed", event["detail"]))
    run.ours = sum(event["loops"] for event in ends.values())  # if it cannot say itself
    if done:
        run.ours, run.standard = done["ours"], done["standard"]
        if end != "ended":
            run.outcomes.append(Outcome(prefix + "(exit)", "failed", f"{end} after the last test\n{tail(output)}"))
        if loop != "asyncio" and run.standard:
            what = f"{run.standard} loops of the standard class were made where ours should stand"
            run.outcomes.append(Outcome(prefix + "(place)", "failed", what))
    return run


def ask(interpreter: Interpreter, request: Event, limit: float) -> tuple[list[Event], str, str]:
    options = ["-I", "-X", "dev"] if interpreter.dev else ["-I"]
    words = [interpreter.python, *options, str(BOOTSTRAP)]
    return talk(lambda events: [*words, json.dumps(request | {"out": str(events)})], limit)
