"""What became of a test, of a module of tests, of an interpreter: the same words for every suite."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from dataclasses import dataclass, field

from conformance.interpreters import Interpreter

KINDS = ("passed", "failed", "unsteady", "known", "skipped", "excluded")
"""Every verdict there is; README.md says what each means."""


@dataclass
class Outcome:
    """What became of one test."""

    test: str
    kind: str
    """passed, failed or skipped; the runner adds excluded, known (fails on asyncio too) and unsteady (see `foreign.py`)."""
    detail: str = ""
    loops: int = 0
    """How many of our loops it made."""


@dataclass
class ModuleReport:
    """What became of one module on one interpreter."""

    module: str
    outcomes: list[Outcome] = field(default_factory=list)
    ours: int = 0
    seconds: float = 0.0
    note: str = ""

    def count(self, kind: str) -> int:
        return sum(outcome.kind == kind for outcome in self.outcomes)


@dataclass
class PythonReport:
    """What became of one interpreter."""

    interpreter: Interpreter
    modules: list[ModuleReport] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    """Excluded tests that pass."""
    unused: list[str] = field(default_factory=list)
    """Ids of the list of exclusions that matched nothing."""
    note: str = ""
    """Why nothing was run."""
    broken: bool = False

    def outcomes(self) -> list[Outcome]:
        return [outcome for module in self.modules for outcome in module.outcomes]

    def totals(self) -> Counter[str]:
        return Counter(outcome.kind for outcome in self.outcomes())


class Progress:
    """One line on stderr for each module that is through."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.lock = threading.Lock()

    def say(self, module: ModuleReport) -> None:
        counts = ", ".join(f"{module.count(kind)} {kind}" for kind in KINDS if module.count(kind))
        with self.lock:
            line = f"{self.version:8} {module.module:26} {counts or module.note} ({module.seconds:.1f} s)"
            print(line, file=sys.stderr, flush=True)
