"""Echo rows: servers driven by the Rust client, by what their server spends of its processor on a request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benches import certificates, load
from benches.families.served import Servers
from benches.loops import ACCELERATED, FLOOR
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
    """What one case asks of its server: the client's mode, and its options but for how long."""

    case: Case
    mode: str
    options: Mapping[str, float]
    quick: bool


class Network:
    """One kind of server in all its cells.

    Args:
        module: The server, in ``benches.servers``.
        exchanges: The cells.
        parts: How many writes make an answer.
        floor: The load generator's mode that is the bare server here, if there is one.
        extras: Who else stands in the rows: the layers where they replace what is measured, tepal accelerated where that is other.
        key: The kind of key with which all of it is encrypted, if it is.
        file: Makes or finds what the server is to send, if it sends a file.
    """

    def __init__(
        self,
        module: str,
        exchanges: Sequence[Exchange],
        *,
        parts: int = 1,
        floor: str | None = None,
        extras: Collection[str] = (),
        key: str | None = None,
        file: Callable[[], Path] | None = None,
    ) -> None:
        self.extras: Collection[str] = [*([FLOOR] if floor else []), *extras]
        self.missing = certificates.missing() if key else None
        self._module = module
        self._parts = parts
        self._floor = floor
        self._key = key
        self._file = file
        self._exchanges = {exchange.case.id: exchange for exchange in exchanges}

    def cases(self, *, quick: bool) -> list[Case]:
        return [exchange.case for exchange in self._exchanges.values() if exchange.quick or not quick]

    @contextlib.contextmanager
    def open(self, plan: Plan) -> Iterator[NetworkSession]:
        options: dict[str, float | str] = {"parts": self._parts}
        if self._key:
            options["certificate"] = str(certificates.certificate(self._key))
        with contextlib.ExitStack() as stack:
            yield NetworkSession(self._exchanges, Servers(self._start, stack), options, plan)

    def _start(self, loop: str) -> Child:
        if loop == FLOOR:
            assert self._floor is not None
            return load.floor(self._floor, self._parts)
        words = [str(certificates.certificate(self._key))] if self._key else []
        words += [str(self._file())] if self._file else []
        return python(f"benches.servers.{self._module}", loop, *words, core=TEST_CORE)


class NetworkSession:
    """One round with its servers."""

    def __init__(
        self,
        exchanges: Mapping[str, Exchange],
        servers: Servers,
        options: load.Options,
        plan: Plan,
    ) -> None:
        self._exchanges = exchanges
        self._servers = servers
        self._options = options
        self._seconds = plan.seconds

    def measure(self, case: Case, loop: str) -> Metrics:
        exchange = self._exchanges[case.id]
        # A case that counts its requests says so in its own options, and is not timed.
        limit = {} if "requests" in exchange.options else {"seconds": self._seconds}
        with self._servers.lease(loop) as (server, port):
            return load.run(server, exchange.mode, port, {**self._options, **exchange.options, **limit})


def network_families() -> list[Network]:
    """The echo rows through each of asyncio's interfaces, then answers in two writes, then short connections."""
    everywhere = [(size, count) for size in SIZES for count in CONNECTIONS]
    small = [(size, count) for size in ("64B", "1KiB") for count in CONNECTIONS]
    return [
        Network("protocol", echoes("echo/protocol", everywhere), floor="floor"),
        *(Network(kind, echoes(f"echo/{kind}", everywhere)) for kind in ("buffered", "sock")),
        *(Network(kind, echoes(f"echo/{kind}", everywhere), extras=[ACCELERATED]) for kind in ("streams", "lines")),
        Network("twice", echoes("twice/protocol", small), parts=2, floor="floor"),
        Network("protocol", [oneshot("oneshot/protocol/64B/10")], floor="floor"),
        Network("streams", [oneshot("oneshot/streams/64B/10")], extras=[ACCELERATED]),
    ]


def echoes(
    prefix: str,
    cells: Sequence[tuple[str, int]],
    quick: Collection[tuple[str, int]] = _QUICK,
    mode: str = "echo",
) -> list[Exchange]:
    """The cells of one kind of server: sizes by name, and how many ask at a time."""
    return [
        Exchange(
            cost_of(f"{prefix}/{size}/{count}", "request"),
            mode,
            {"size": SIZES[size], "connections": count},
            (size, count) in quick,
        )
        for size, count in cells
    ]


def oneshot(name: str, what: str = "connection") -> Exchange:
    """Ten short lives at any time."""
    return Exchange(cost_of(name, what), "oneshot", {"size": SIZES["64B"], "connections": 10}, quick=True)


def cost_of(name: str, what: str) -> Case:
    """A case with one row: the server's processor time for each."""
    return Case(name, (Row(name, "cpu_us", f"µs CPU / {what}"),))
