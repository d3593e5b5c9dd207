"""Who is ahead in a row, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benches.loops import ACCELERATED, FLOOR, SUBJECT
from benches.model import Case, Results, Row


@dataclass(frozen=True)
class Line:
    """A row with the medians of all loops that have one."""

    case: Case
    row: Row
    medians: dict[str, float]
    errors: dict[str, str]

    @property
    def best_rival(self) -> str | None:
        """The best of all other loops, the control among them. The floor is no loop, and tepal accelerated is tepal."""
        others = [name for name in self.medians if name not in {SUBJECT, ACCELERATED, FLOOR}]
        return min(others, key=self.cost, default=None)

    @property
    def ratio(self) -> float | None:
        """tepal's cost by the best rival's: below one, tepal is ahead. A rate costs its inverse; nothing has no multiple."""
        best = self.best_rival
        if best is None or SUBJECT not in self.medians or not self.cost(best):
            return None
        return self.cost(SUBJECT) / self.cost(best)

    @property
    def lost(self) -> bool:
        """Whether a rival is ahead, or tepal has no number where one has."""
        best = self.best_rival
        if best is None:
            return False
        if SUBJECT in self.medians:
            return self.cost(SUBJECT) > self.cost(best)
        return SUBJECT in self.errors

    def cost(self, loop: str) -> float:
        """The loop's number such that less is better."""
        value = self.medians[loop]
        return value if self.row.better == "lower" else 1 / value


def lines(cases: Sequence[Case], results: Results, loops: Sequence[str]) -> list[Line]:
    """Every row of the cases, in order."""
    return [
        Line(
            case,
            row,
            {loop: value for loop in loops if (value := results.median(case, row, loop)) is not None},
            results.errors.get(case.id, {}),
        )
        for case in cases
        for row in case.rows
    ]
