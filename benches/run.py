"""The order of things: family by family, and in a family round by round, with the loops side by side in each case.

Neighbours in time see the same machine. What drifts (heat, other work on the host) then falls on all loops alike, and
no loop always goes first.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase

from benches.loops import NAMES
from benches.model import Case, Family, MeasureError, Plan, Results, Session


class Progress:
    """One line on a terminal, rewritten; elsewhere a line for each round."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._live = sys.stderr.isatty()

    def begin_round(self, cases: Sequence[Case], number: int, rounds: int) -> None:
        """Says where we are."""
        if not self._live:
            share = 100 * self._done // self._total
            print(
                f"{share:3d} %  {cases[0].id} … round {number + 1} of {rounds}",
                file=sys.stderr,
                flush=True,
            )

    def step(self, case: Case, loop: str) -> None:
        """One measurement is about to be made."""
        self._done += 1
        if self._live:
            print(
                f"\r\033[K{100 * self._done // self._total:3d} %  {case.id}  {loop}",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def end(self) -> None:
        """Clears the line."""
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def select(families: Sequence[Family], names: Sequence[str], *, quick: bool) -> list[tuple[Family, list[Case]]]:
    """The cases that the names want, all when there is none.

    Raises:
        LookupError: A name wants nothing.
    """
    for name in names:
        if not any(_wants(name, case) for family in families for case in family.cases(quick=False)):
            raise LookupError(f"no benchmark is called {name!r}; --list shows them all")
    chosen = []
    for family in families:
        # Who names a row means it, even if the quick round would pass it by.
        cases = family.cases(quick=quick and not names)
        cases = [case for case in cases if not names or any(_wants(name, case) for name in names)]
        if cases:
            chosen.append((family, cases))
    return chosen


def run(
    chosen: Sequence[tuple[Family, list[Case]]],
    loops: Sequence[str],
    plan: Plan,
    results: Results,
) -> None:
    """Measures everything; what fails is noted in the results."""
    per_family = {
        id(family): [name for name in loops if name in NAMES or name in family.extras] for family, _ in chosen
    }
    progress = Progress(sum(len(cases) * len(per_family[id(family)]) for family, cases in chosen) * plan.rounds)
    try:
        for family, cases in chosen:
            names = per_family[id(family)]
            if not names:
                continue
            for number in range(plan.rounds):
                progress.begin_round(cases, number, plan.rounds)
                with family.open(plan) as session:
                    for index, case in enumerate(cases):
                        shift = (number + index) % len(names)
                        for loop in names[shift:] + names[:shift]:
                            progress.step(case, loop)
                            _measure(session, case, loop, results)
    finally:
        progress.end()


def _measure(session: Session, case: Case, loop: str, results: Results) -> None:
    if loop in results.errors.get(case.id, {}):
        return
    try:
        results.add(case, loop, session.measure(case, loop))
    except (MeasureError, OSError, ValueError, subprocess.SubprocessError) as error:
        results.fail(case, loop, str(error))


def _wants(name: str, case: Case) -> bool:
    """A name is a pattern, the beginning of a row, or a word in it."""
    return any(fnmatchcase(row, name) or name in row for row in (case.id, *(row.id for row in case.rows)))
