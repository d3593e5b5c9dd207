"""Micro-benchmarks: each in a process of its own, by the processor time of the whole process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benches.micro import CASES
from benches.model import Case, Metrics, Plan, Row
from benches.processes import TEST_CORE, python

_QUICK_SCALE = 0.25


class Micro:
    """Everything in ``benches.micro``."""

    has_floor = False
    missing = None

    def cases(self, *, quick: bool) -> list[Case]:
        return [_case(name, threads=case.threads) for name, case in CASES.items()]

    @contextlib.contextmanager
    def open(self, plan: Plan) -> Iterator[MicroSession]:
        yield MicroSession(_QUICK_SCALE if plan.quick else 1.0)


class MicroSession:
    """Starts a process for each measurement; nothing is kept between them."""

    def __init__(self, scale: float) -> None:
        self._scale = scale

    def measure(self, case: Case, loop: str) -> Metrics:
        name = case.id.partition("/")[2]
        # Threads that hand work to each other are meant to have more than one core.
        core = None if CASES[name].threads else TEST_CORE
        with python("benches.micro", loop, name, str(self._scale), core=core) as program:
            return program.read_metrics()


def _case(name: str, *, threads: bool) -> Case:
    rows = [Row(f"micro/{name}", "cpu_ns", "ns CPU / op")]
    if threads:
        # Here the wait is what the user feels, and a loop could buy processor time with it.
        rows.append(Row(f"micro/{name}/wall", "wall_ns", "ns wall / op"))
    return Case(f"micro/{name}", tuple(rows))
