"""Echo rows: servers driven by the Rust client, by what their server spends of its processor on a request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benches import load
from benches.families.served import Servers
from benches.loops import FLOOR
from benches.model import Case, Metrics, Plan, Row
from benches.processes import TEST_CORE, Child, python

SIZES = {
    "64B": 64,
    "1KiB": 1024,
    "10KiB": 10 * 1024,
    "100KiB": 100 * 1024,
    "1MiB": 1024 * 1024,
}
CONNECTIONS = (1, 10, 200)
_QUICK = {("64B", 1), ("64B", 10), ("1KiB", 10), ("100KiB", 10)}


@dataclass(frozen=True)
class Exchange:
    """What one case asks of its server."""

    case: Case
    mode: str
    size: int
    connections: int
    quick: bool


class Network:
    """One kind of server in all its cells."""

    def __init__(
        self,
        prefix: str,
        module: str,
        exchanges: Sequence[Exchange],
        *,
        parts: int = 1,
        has_floor: bool = False,
    ) -> None:
        self.missing = None
        self.has_floor = has_floor
        self._prefix = prefix
        self._module = module
        self._parts = parts
        self._exchanges = {exchange.case.id: exchange for exchange in exchanges}

    def cases(self, *, quick: bool) -> list[Case]:
        return [exchange.case for exchange in self._exchanges.values() if exchange.quick or not quick]

    @contextlib.contextmanager
    def open(self, plan: Plan) -> Iterator[NetworkSession]:
        with contextlib.ExitStack() as stack:
            yield NetworkSession(self._exchanges, Servers(self._start, stack), self._parts, plan)

    def _start(self, loop: str) -> Child:
        if loop == FLOOR:
            return load.floor(self._parts)
        return python(f"benches.servers.{self._module}", loop, core=TEST_CORE)


class NetworkSession:
    """One round with its servers."""

    def __init__(self, exchanges: dict[str, Exchange], servers: Servers, parts: int, plan: Plan) -> None:
        self._exchanges = exchanges
        self._servers = servers
        self._parts = parts
        self._plan = plan

    def measure(self, case: Case, loop: str) -> Metrics:
        exchange = self._exchanges[case.id]
        options: dict[str, float] = {
            "connections": exchange.connections,
            "size": exchange.size,
            "parts": self._parts,
            "seconds": self._plan.seconds,
        }
        with self._servers.lease(loop) as (server, port):
            return load.run(server, exchange.mode, port, options)


def network_families() -> list[Network]:
    """The echo rows through each of asyncio's interfaces, then answers in two writes, then short connections."""
    everywhere = [(size, count) for size in SIZES for count in CONNECTIONS]
    small = [(size, count) for size in ("64B", "1KiB") for count in CONNECTIONS]
    return [
        Network(
            "echo/protocol",
            "protocol",
            _echoes("echo/protocol", everywhere),
            has_floor=True,
        ),
        *(
            Network(f"echo/{kind}", kind, _echoes(f"echo/{kind}", everywhere))
            for kind in ("buffered", "streams", "lines", "sock")
        ),
        Network(
            "twice/protocol",
            "twice",
            _echoes("twice/protocol", small),
            parts=2,
            has_floor=True,
        ),
        Network(
            "oneshot/protocol",
            "protocol",
            _oneshots("oneshot/protocol"),
            has_floor=True,
        ),
        Network("oneshot/streams", "streams", _oneshots("oneshot/streams")),
    ]


def _echoes(prefix: str, cells: list[tuple[str, int]]) -> list[Exchange]:
    return [
        Exchange(
            _case(f"{prefix}/{size}/{count}"),
            "echo",
            SIZES[size],
            count,
            (size, count) in _QUICK,
        )
        for size, count in cells
    ]


def _oneshots(prefix: str) -> list[Exchange]:
    return [Exchange(_case(f"{prefix}/64B/10"), "oneshot", SIZES["64B"], 10, quick=True)]


def _case(name: str) -> Case:
    unit = "connection" if name.startswith("oneshot") else "request"
    return Case(name, (Row(name, "cpu_us", f"µs CPU / {unit}"),))
