"""A supervisor that fetches a page through everything that asyncio has: a connection, a protocol, callbacks, a future, a task.

What any of it raises arrives at the block, and what any of it has opened is closed there.

    python examples/seeds/get_by_supervisor.py host port [path]
"""

from __future__ import annotations

import asyncio
import sys

import tepal


class Http(asyncio.Protocol):
    """Asks for one page, and collects the answer."""

    def __init__(self, request: bytes, answer: asyncio.Future[bytes]) -> None:
        self.request = request
        self.answer = answer
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Collect; an answer that is none is an error of this call, and so of the supervisor."""
        self.received += data
        if not self.received.startswith(b"HTTP/"[: len(self.received)]):
            raise ValueError(f"that is no HTTP: {bytes(self.received[:20])!r}")

    def connection_lost(self, exc: BaseException | None) -> None:
        """The answer is complete."""
        if not self.answer.done():
            self.answer.set_result(bytes(self.received))


async def get(host: str, port: int, path: str = "/", limit: float = 10) -> bytes:
    """Fetch a page.

    Args:
        host: Where.
        port: At which port.
        path: Which.
        limit: Seconds at most.

    Returns:
        The body.

    Raises:
        ExceptionGroup: Something has failed, wherever.
    """
    loop = asyncio.get_running_loop()
    async with loop.create_supervisor() as sup:  # type: ignore[attr-defined]
        request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
        answer: asyncio.Future[bytes] = sup.create_future()

        def too_late() -> None:
            raise TimeoutError(f"no answer within {limit} seconds")

        timer = sup.call_later(limit, too_late)
        await sup.create_connection(lambda: Http(request, answer), host, port)

        async def body() -> bytes:
            head, _, rest = (await answer).partition(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise LookupError(head.split(b"\r\n")[0].decode())
            return rest

        page = await sup.create_task(body())
        timer.cancel()
    assert isinstance(page, bytes)
    return page


async def main(host: str, port: int, path: str) -> None:
    """Print a page, or what went wrong."""
    try:
        print((await get(host, port, path)).decode())
    except* Exception as group:  # noqa: BLE001 (whatever it was, wherever it happened)
        for error in group.exceptions:
            print(f"failed: {error!r}")


if __name__ == "__main__":
    tepal.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "/")
