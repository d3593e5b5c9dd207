"""``python -m benches [names...]``: measure, print, keep."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benches import goals, load, loops, machine, record, report
from benches.families import all_families
from benches.loops import ACCELERATED, FLOOR, LAYERS, NAMES, TRIO, Found
from benches.model import MeasureError, Plan, Results
from benches.processes import raise_priority
from benches.run import run, select
from benches.verdict import lines

COLUMNS = (*NAMES, ACCELERATED, TRIO, *LAYERS, FLOOR)


def main() -> int:
    """Runs the command line; returns the status."""
    options = _parse()
    families = all_families()
    if options.list:
        for family in families:
            for case in family.cases(quick=False):
                print(*(row.id for row in case.rows), sep="\n")
        return 0
    plan = Plan(
        rounds=options.rounds or (2 if options.quick else 5),
        seconds=options.seconds or (0.1 if options.quick else 0.2),
        quick=options.quick,
    )
    try:
        chosen = select(families, options.names, quick=options.quick)
        load.binary()
    except (LookupError, MeasureError) as error:
        print(f"benches: {error}", file=sys.stderr)
        return 2
    for family, cases in list(chosen):
        if family.missing:
            print(
                f"benches: left out: {', '.join(case.id for case in cases)}: {family.missing}",
                file=sys.stderr,
            )
            chosen.remove((family, cases))

    # Whom no chosen row would show need not be here.
    extras = {name for family, _ in chosen for name in family.extras}
    wanted = [name for name in options.loops or COLUMNS if name in NAMES or name in extras]
    found = [loops.find(name) for name in wanted if name != FLOOR]
    columns = [loop.name for loop in found if loop.version] + ([FLOOR] if FLOOR in wanted else [])
    _warn(found)

    raise_priority()
    header = machine.describe(plan, sys.argv[1:])
    results = Results()
    interrupted = False
    try:
        run(chosen, columns, plan, results)
    except KeyboardInterrupt:
        interrupted = True
        print("benches: interrupted; this is what there is:", file=sys.stderr)

    table = lines(
        [case for _, cases in chosen for case in cases if case.id in results.samples | results.errors],
        results,
        columns,
    )
    outcomes = goals.judge(table)
    whole = not (options.names or options.loops or options.quick or interrupted)
    path = options.output or record.FOLDER / f"{'' if whole else 'partial-'}{machine.file_name(header)}.json"
    print(report.render(header, found, columns, table, outcomes))
    record.write(path, header, found, columns, table, outcomes, results)
    print(f"\nKept in {path} and {path.with_suffix('.svg').name}")
    return 130 if interrupted else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help="which rows: the beginning, a word or a pattern (echo, timer, 'echo/*/64B/*')",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help="how often each case is measured on each loop (5; quick: 2)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="how long the load lasts in each echo case (0.2; quick: 0.1)",
    )
    parser.add_argument(
        "--loops",
        type=lambda text: text.split(","),
        help=f"which of {','.join(COLUMNS)}; all that are installed",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer rows, rounds and seconds: a first impression",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="where the JSON goes (benches/results/<date>-<machine>.json)",
    )
    parser.add_argument("--list", action="store_true", help="print the names of all rows")
    options = parser.parse_args()
    unknown = set(options.loops or ()) - {*COLUMNS}
    if unknown:
        parser.error(f"no loop is called {', '.join(sorted(unknown))}")
    return options


def _warn(found: list[Found]) -> None:
    for loop in found:
        if loop.reason:
            print(f"benches: without {loop.name}: {loop.reason}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
