"""Names that are addresses already: nothing has to be asked, and no thread has to ask it."""

from __future__ import annotations

import asyncio
import socket

from benches.micro._case import Cases, Stopwatch

names = Cases("getaddrinfo")


@names.add("ipv4", 3_000, helped=True)
async def ipv4(count: int, watch: Stopwatch) -> None:
    """A literal and a port, as a connection asks for it."""
    await _look_up("127.0.0.1", count, watch)


@names.add("ipv6", 3_000, helped=True, quick=False)
async def ipv6(count: int, watch: Stopwatch) -> None:
    """The same of the other family."""
    await _look_up("::1", count, watch)


async def _look_up(host: str, count: int, watch: Stopwatch) -> None:
    loop = asyncio.get_running_loop()
    # Where a thread is needed, it is there before the clock runs.
    await loop.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    watch.start()
    for _ in range(count):
        await loop.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
