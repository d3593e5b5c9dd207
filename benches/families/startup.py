"""What a program pays before its first line runs: importing the loop, and making, turning and closing one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from benches.model import Case, Metrics, Plan, Row
from benches.processes import TEST_CORE, Child

# In a fresh interpreter; asyncio, which every loop imports, is part of it.
_IMPORT = """
import time
before = time.process_time()
import {loop}
print('{{"cpu_ms": %f}}' % ((time.process_time() - before) * 1e3))
"""

_LIFE = """
import time, {loop}
async def nothing(): pass
def life():
    loop = {loop}.new_event_loop()
    loop.run_until_complete(nothing())
    loop.close()
for _ in range(20): life()
before = time.process_time()
for _ in range(200): life()
print('{{"cpu_us": %f}}' % ((time.process_time() - before) / 200 * 1e6))
"""


class Startup:
    """Import time and the life of a loop."""

    extras = ()
    missing = None

    def cases(self, *, quick: bool) -> list[Case]:
        return [
            Case("start/import", (Row("start/import", "cpu_ms", "ms CPU"),)),
            Case("start/loop", (Row("start/loop", "cpu_us", "µs CPU / loop"),)),
        ]

    @contextlib.contextmanager
    def open(self, plan: Plan) -> Iterator[Startup]:
        yield self

    def measure(self, case: Case, loop: str) -> Metrics:
        program = _IMPORT if case.id == "start/import" else _LIFE
        with Child([sys.executable, "-c", program.format(loop=loop)], TEST_CORE) as child:
            return child.read_metrics()
