"""Micro-benchmarks: each in a process of its own, by the processor time of the whole process."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from benches.loops import ACCELERATED, LAYERS, TRIO
from benches.micro import MICRO, names, pipes, spawning, structured
from benches.micro._case import Cases
from benches.model import Case, Metrics, Plan, Row
from benches.processes import TEST_CORE, python

_QUICK_SCALE = 0.25
_NANOS = {"ns": 1, "us": 1e3, "ms": 1e6}
_SIGNS = {"ns": "ns", "us": "µs", "ms": "ms"}


class Micro:
    """The cases of ``benches.micro`` that share a unit."""

    missing = None

    def __init__(self, cases: Cases, *, extras: Collection[str] = ()) -> None:
        self.extras: Collection[str] = extras
        self._cases = cases

    def cases(self, *, quick: bool) -> list[Case]:
        return [self._case(name) for name, case in self._cases.items() if case.quick or not quick]

    def _case(self, name: str) -> Case:
        unit, what = self._cases.unit, self._cases.what
        rows = [Row(name, f"cpu_{unit}", f"{_SIGNS[unit]} CPU / {what}")]
        if self._cases[name].helped:
            # Here the wait is what the user feels, and a loop could buy processor time with it.
            rows.append(Row(f"{name}/wall", f"wall_{unit}", f"{_SIGNS[unit]} wall / {what}"))
        return Case(name, tuple(rows))

    @contextlib.contextmanager
    def open(self, plan: Plan) -> Iterator[MicroSession]:
        yield MicroSession(self._cases, _QUICK_SCALE if plan.quick else 1.0)


class MicroSession:
    """Starts a process for each measurement; nothing is kept between them."""

    def __init__(self, cases: Cases, scale: float) -> None:
        self._cases = cases
        self._scale = scale

    def measure(self, case: Case, loop: str) -> Metrics:
        # Those who hand work to each other are meant to have more than one core.
        core = None if self._cases[case.id].helped else TEST_CORE
        with python("benches.micro", loop, case.id, str(self._scale), core=core) as program:
            metrics = program.read_metrics()
        unit = self._cases.unit
        return {f"{name.removesuffix('ns')}{unit}": value / _NANOS[unit] for name, value in metrics.items()}


def micro_families() -> list[Micro]:
    """The loop's own operations."""
    return [Micro(MICRO, extras=[ACCELERATED])]


def structured_families() -> list[Micro]:
    """Scopes, nurseries, supervisors and channels, beside what there is elsewhere."""
    return [Micro(structured, extras=[TRIO])]


def system_families() -> list[Micro]:
    """What a loop asks of the system: processes, pipes, names."""
    return [Micro(spawning), Micro(pipes, extras=LAYERS), Micro(names)]
