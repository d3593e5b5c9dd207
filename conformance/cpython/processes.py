"""Runs test classes in the tested interpreter, each in a process of its own, and reads what became of each test.

A process may end in four ways: it says it is done; it hangs and is killed; it dies of a signal; it leaves in the middle. Only
the first is good, and also then the exit itself must be clean: a loop may well crash or hang while the interpreter ends. The tests
that a process did not come to count as failed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.cpython.interpreters import Interpreter

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")

NOT_REACHED = "not reached"
"""How the detail of a test begins whose process ended before it came to it."""

Event = dict[str, Any]


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
class Outcome:
    """What became of one test."""

    test: str
    kind: str
    """passed, failed or skipped; the runner adds excluded and known (fails on asyncio too)."""
    detail: str = ""
    loops: int = 0
    """How many of our loops it made."""


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
    events, output, _ = talk(interpreter, request, limit=60)
    return events, output


def run_class(
    interpreter: Interpreter, loop: str, source: Source, title: str, tests: list[str], limit: float
) -> ClassRun:
    """Run some tests of one class."""
    request = {
        "command": "run",
        "loop": loop,
        "module": source.package + source.module,
        "path": source.path,
        "class": title,
        "tests": tests,
        "limit": limit,
    }
    begin = time.monotonic()
    events, output, end = talk(interpreter, request, limit)
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


def talk(interpreter: Interpreter, request: dict[str, Any], limit: float) -> tuple[list[Event], str, str]:
    """Start a process, wait for its end or kill it; return its events, its output and how it ended."""
    with tempfile.TemporaryDirectory(prefix="tepal-") as folder:
        events_path = Path(folder, "events")
        home = Path(folder, "home")
        home.mkdir()  # the tests leave files in the working directory
        options = ["-I", "-X", "dev"] if interpreter.dev else ["-I"]
        words = [interpreter.python, *options, str(BOOTSTRAP), json.dumps(request | {"out": str(events_path)})]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        with open(Path(folder, "output"), "w+b") as output:
            process = subprocess.Popen(
                words, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
            try:
                begin = time.monotonic()
                status = process.wait(limit)
                end = "ended" if status == 0 else how_it_died(status)
                if status == 1 and time.monotonic() - begin > limit * 0.85:
                    end = f"hung, ended after {limit:.0f} s,"
            except subprocess.TimeoutExpired:
                end = f"hung, killed after {limit:.0f} s,"
            finally:
                kill(process)
            output.seek(0)
            text = output.read().decode(errors="replace")
        lines = events_path.read_text(encoding="utf-8").splitlines() if events_path.exists() else []
    return [event for event in map(parse, lines) if event is not None], text, end


def parse(line: str) -> Event | None:
    try:
        event: Event = json.loads(line)
    except ValueError:  # the process was killed while it wrote this line
        return None
    return event


def how_it_died(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exited with {status}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started: it leads a session of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def tail(output: str, lines: int = 40) -> str:
    return "\n".join(output.splitlines()[-lines:])
