"""Try the loops and write the table; see the package's first lines."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

from .probes import every_probe
from .table import CONTROL, Loop, render, verdict
from .trial import ROOT, Outcome, try_all

RIVALS = ("uvloop", "rloop", "rsloop", "zuvloop")
PLACE = ROOT / "docs" / "compatibility.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.compatibility", description=__doc__)
    parser.add_argument("--loops", nargs="+", default=[CONTROL, *RIVALS, "tepal"], metavar="NAME")
    parser.add_argument(
        "--match", default="", metavar="TEXT", help="only rows whose name contains this; implies --show"
    )
    parser.add_argument("--show", action="store_true", help="print what came of each row instead of writing the table")
    options = parser.parse_args()
    rows = [(index, row) for index, row in enumerate(every_probe()) if options.match in row.name]
    loops = [find(name) for name in options.loops]
    outcomes: dict[str, dict[int, Outcome]] = {}
    for loop in loops:
        if loop.version is not None:
            print(f"==> {loop.name} {loop.version}", file=sys.stderr)
            outcomes[loop.name] = try_all(loop.name, [index for index, _ in rows])
        else:
            print(f"==> {loop.name}: {loop.reason}", file=sys.stderr)
    if options.show or options.match:
        for name, found in outcomes.items():
            for index, row in rows:
                told = verdict(found[index], outcomes.get(CONTROL, {}).get(index))
                print(f"{name:8} {row.name:60} {told:30} {found[index].detail or found[index].answer or ''}")
        return 0
    PLACE.write_text(render(loops, rows, outcomes, datetime.datetime.now(datetime.UTC).date()), encoding="utf-8")
    print(f"wrote {Path(PLACE).relative_to(ROOT)}", file=sys.stderr)
    return 0


def find(name: str) -> Loop:
    """Look for a loop, and see it turn once in another process."""
    if name == CONTROL:
        return Loop(name, platform.python_version())
    if importlib.util.find_spec(name) is None:
        return Loop(name, None, WHY_NOT.get(name, "not installed"))
    program = f"import {name}, asyncio; l = {name}.new_event_loop(); l.run_until_complete(asyncio.sleep(0)); l.close()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        return Loop(name, None, "its loop does not turn once")
    return Loop(name, importlib.metadata.version(name))


WHY_NOT = {
    "rsloop": "not installed; it has no wheels, and benches/METHOD.md says how to build it",
    "zuvloop": "not installed; it begins at Python 3.14",
}

if __name__ == "__main__":
    sys.exit(main())
