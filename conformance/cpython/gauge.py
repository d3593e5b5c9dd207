"""Checks the runner itself, before it judges anything: each class of `samples.py` must get the verdict it is made for.

A runner that took a hang, a crash or a loop of the wrong kind for a success would go unnoticed for ever: everything would be green.
It takes four seconds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conformance.cpython.processes import Source, run_class
from conformance.interpreters import Interpreter

LIMIT = 4.0
"""Seconds for the sample that hangs; the others are through in a tenth of it."""

Verdicts = dict[str, tuple[str, str]]
"""By test: what it must be called, and words that its detail must contain."""

SAMPLES: dict[str, Verdicts] = {
    "Passes": {"test_it": ("passed", "")},
    "Isolated": {"test_it": ("passed", "")},
    "Named": {"test_it": ("passed", "")},
    "Fails": {"test_it": ("failed", "as it should")},
    "Litters": {"test_a": ("passed", ""), "test_b": ("passed", "")},
    "Skips": {"test_it": ("skipped", "as it should")},
    "Unprepared": {"test_it": ("failed", "could not be set up")},
    "Hangs": {"test_a": ("failed", "hung"), "test_b": ("failed", "not reached")},
    "Dies": {"test_a": ("failed", "SIGSEGV"), "test_b": ("failed", "not reached")},
    "Leaves": {"test_a": ("failed", "ended in this test")},
    "ExitsBadly": {"test_it": ("passed", ""), "(exit)": ("failed", "SIGABRT")},
    "SlipsBy": {"test_it": ("passed", ""), "(place)": ("failed", "standard class")},
}


def check(interpreter: Interpreter, loop: str, jobs: int) -> list[str]:
    """Run the samples and name what was judged wrongly."""
    with ThreadPoolExecutor(jobs) as pool:
        return [
            error
            for errors in pool.map(lambda title: check_class(interpreter, loop, title), SAMPLES)
            for error in errors
        ]


def check_class(interpreter: Interpreter, loop: str, title: str) -> list[str]:
    wanted = SAMPLES[title]
    source = Source("", "samples", path=str(Path(__file__).parent))
    tests = [test for test in wanted if not test.startswith("(")]
    limit = LIMIT if title == "Hangs" else 20.0
    run = run_class(interpreter, loop, source, title, tests, limit)
    found = {outcome.test.rpartition(".")[2]: outcome for outcome in run.outcomes}
    errors = []
    for test, (kind, words) in wanted.items():
        if test == "(place)" and loop == "asyncio":
            continue
        outcome = found.get(test)
        if outcome is None or outcome.kind != kind or words not in outcome.detail:
            errors.append(f"{title}.{test} should be {kind} ({words}) and is {outcome}")
    if title in ("Passes", "Isolated", "Named") and run.ours != 1:
        errors.append(f"{title} made {run.ours} loops and should have made one")
    return errors
