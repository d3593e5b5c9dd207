"""What is measured: cases, the rows they fill, and the numbers that came out."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

#: All that one run of one case said: the row's number, and others for the record (latencies, packets, wall time).
Metrics = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    quick: bool


@dataclass(frozen=True)
class Row:
    """One line of the table, taken from one metric of a case."""

    id: str
    metric: str
    unit: str
    better: Literal["lower", "higher"] = "lower"


@dataclass(frozen=True)
class Case:
    """One thing to run on each loop. Most fill one row; a program under load fills two."""

    id: str
    rows: tuple[Row, ...]


class Session(Protocol):
    """One round of one family, with whatever processes it keeps alive in between."""

    def measure(self, case: Case, loop: str) -> Metrics:
        """Runs the case once on the loop.

        Raises:
            MeasureError: The program under test failed; said in the table, not fatal.
        """


class Family(Protocol):
    """Cases that share a way of being run."""

    @property
    def extras(self) -> Collection[str]:
        """What stands beside the loops here: the floor, and layers of which the rows measure what they replace."""

    @property
    def missing(self) -> str | None:
        """Why this family cannot run here, if it cannot."""

    def cases(self, *, quick: bool) -> list[Case]:
        """The cases, in the order of the table; with ``quick`` only those that give a first impression."""

    def open(self, plan: Plan) -> AbstractContextManager[Session]:
        """Begins a round."""


class MeasureError(Exception):
    """A program under test ended, hung or answered wrongly."""


@dataclass
class Results:
    """Everything measured: case id, then loop, then one entry per round."""

    samples: dict[str, dict[str, list[Metrics]]] = field(default_factory=dict)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, case: Case, loop: str, metrics: Metrics) -> None:
        """Keeps what one round gave."""
        self.samples.setdefault(case.id, {}).setdefault(loop, []).append(metrics)

    def fail(self, case: Case, loop: str, reason: str) -> None:
        """Keeps why a loop has no number in a row; one failure is enough to take the number away."""
        self.errors.setdefault(case.id, {})[loop] = reason

    def values(self, case: Case, row: Row, loop: str) -> list[float]:
        """The row's number in every round; empty when the loop failed in any."""
        if loop in self.errors.get(case.id, {}):
            return []
        return [metrics[row.metric] for metrics in self.samples.get(case.id, {}).get(loop, [])]

    def median(self, case: Case, row: Row, loop: str) -> float | None:
        """The number that stands in the table."""
        values = self.values(case, row, loop)
        return statistics.median(values) if values else None
