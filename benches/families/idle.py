"""What a connection that waits costs in memory: thousands of them, each of which has spoken once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benches import load
from benches.model import Case, Metrics, Plan, Row
from benches.processes import TEST_CORE, file_limit, python

#: Open before the first look, so that code, tables and pools that any connection needs are not counted.
_BEFORE = 200
_CONNECTIONS = 5000


class Idle:
    """Memory per idle connection, through a protocol and through streams."""

    extras = ()

    @property
    def missing(self) -> str | None:
        return None if Path("/proc/self/smaps_rollup").exists() else "the system does not say what memory a process has"

    def cases(self, *, quick: bool) -> list[Case]:
        return [
            Case(f"idle/{kind}", (Row(f"idle/{kind}", "bytes", "bytes / connection"),))
            for kind in ("protocol", "streams")
        ]

    @contextlib.contextmanager
    def open(self, plan: Plan) -> Iterator[Idle]:
        yield self

    def measure(self, case: Case, loop: str) -> Metrics:
        count = min(_CONNECTIONS, file_limit() - _BEFORE - 100)
        with python(f"benches.servers.{case.id.partition('/')[2]}", loop, core=TEST_CORE) as server:
            port = int(server.read_line())
            with load.client("idle", port, {"connections": _BEFORE}) as first:
                first.read_line()
                before = server.memory_bytes()
                with load.client("idle", port, {"connections": count}) as second:
                    second.read_line()
                    grown = server.memory_bytes() - before
        return {"bytes": grown / count, "connections": count}
