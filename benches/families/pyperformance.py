"""pyperformance's asyncio benchmarks on every loop: what CPython's own developers look at."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from benches import suite
from benches.loops import ACCELERATED
from benches.model import Case, Metrics, Plan, Row
from benches.processes import TEST_CORE, python

_QUICK = {"async_tree_none", "async_tree_none_tg", "async_generators"}


class Pyperformance:
    """Each of its scripts is a row, in processor time of the whole process."""

    extras: Collection[str] = (ACCELERATED,)

    @property
    def missing(self) -> str | None:
        return None if suite.directory() else "pyperformance is not installed"

    def cases(self, *, quick: bool) -> list[Case]:
        return [
            Case(f"pyperformance/{name}", (Row(f"pyperformance/{name}", "cpu_ms", "ms CPU"),))
            for name in suite.NAMES
            if name in _QUICK or not quick
        ]

    @contextlib.contextmanager
    def open(self, plan: Plan) -> Iterator[PyperformanceSession]:
        yield PyperformanceSession()


class PyperformanceSession:
    """Starts a process for each measurement; nothing is kept between them."""

    def measure(self, case: Case, loop: str) -> Metrics:
        with python("benches.suite", loop, case.id.partition("/")[2], core=TEST_CORE) as program:
            return program.read_metrics()
