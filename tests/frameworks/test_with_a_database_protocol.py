"""A client as asyncpg's: one small binary protocol, pipelined, driven from data_received, with futures and timeouts.

A message is a length (four bytes), a kind (one byte), a number (four bytes) and a body. `Q` asks and is answered by rows
`D` and an end `C` or an error `E`, in order; `X` cancels the running query; `N` is a notice that nobody asked for.
"""

from __future__ import annotations

import asyncio
import collections
import struct
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]
HEAD = struct.Struct(">IcI")


def message(kind: bytes, number: int, body: bytes = b"") -> bytes:
    return HEAD.pack(len(body), kind, number) + body


class Messages(asyncio.Protocol):
    """Cuts the stream into messages."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.writable = asyncio.Event()
        self.writable.set()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= HEAD.size:
            length, kind, number = HEAD.unpack_from(self.buffer)
            if len(self.buffer) < HEAD.size + length:
                return
            body = bytes(self.buffer[HEAD.size : HEAD.size + length])
            del self.buffer[: HEAD.size + length]
            self.received(kind, number, body)

    def received(self, kind: bytes, number: int, body: bytes) -> None:
        raise NotImplementedError

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.writable.set()
        self.lost.set_result(exc)


class Server(Messages):
    """Answers queries one after the other: `rows N`, `sleep`, `fail`, `notice`."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self.running: asyncio.Task[None] | None = None
        self.worker = asyncio.get_running_loop().create_task(self.work())

    def received(self, kind: bytes, number: int, body: bytes) -> None:
        if kind == b"Q":
            self.queries.put_nowait((number, body.decode()))
        elif kind == b"X" and self.running:
            self.running.cancel()

    async def work(self) -> None:
        while True:
            number, text = await self.queries.get()
            self.running = asyncio.get_running_loop().create_task(self.answer(number, text))
            await asyncio.wait([self.running])
            if self.running.cancelled():
                self.transport.write(message(b"E", number, b"cancelled"))

    async def answer(self, number: int, text: str) -> None:
        command, _, argument = text.partition(" ")
        if command == "sleep":
            await asyncio.sleep(float(argument))
        elif command == "fail":
            self.transport.write(message(b"E", number, b"syntax error"))
            return
        elif command == "notice":
            self.transport.write(message(b"N", 0, argument.encode()))
        elif command == "rows":
            for row in range(int(argument)):
                self.transport.write(message(b"D", number, row.to_bytes(8, "big") * 10))
                await self.writable.wait()
        self.transport.write(message(b"C", number))

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.worker.cancel()


class Client(Messages):
    """Hands out futures, and matches the answers to them in order."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: collections.deque[tuple[int, list[bytes], asyncio.Future[list[bytes]]]] = collections.deque()
        self.notices: list[str] = []
        self.count = 0

    def received(self, kind: bytes, number: int, body: bytes) -> None:
        if kind == b"N":
            self.notices.append(body.decode())
            return
        expected, rows, future = self.waiting[0]
        assert number == expected
        if kind == b"D":
            rows.append(body)
            return
        self.waiting.popleft()
        if future.cancelled():
            return
        if kind == b"E":
            future.set_exception(RuntimeError(body.decode()))
        else:
            future.set_result(rows)

    async def query(self, text: str) -> list[bytes]:
        self.count += 1
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((self.count, [], future))
        body = text.encode()
        # As drivers do: head and body in two writes, which leave together.
        self.transport.write(HEAD.pack(len(body), b"Q", self.count))
        self.transport.write(body)
        try:
            return list(await future)
        except asyncio.CancelledError:
            self.transport.write(message(b"X", self.count))
            raise


def with_database(run: Run, body: Callable[[Client], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        servers: list[Server] = []

        def factory() -> Server:
            servers.append(Server())
            return servers[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        async with server:
            transport, client = await loop.create_connection(Client, *server.sockets[0].getsockname())
            await body(client)
            transport.close()
            await client.lost
            await servers[0].lost

    run(main)


def test_one_query_after_the_other(run: Run) -> None:
    async def body(client: Client) -> None:
        for count in range(100):
            rows = await client.query(f"rows {count}")
            assert rows == [row.to_bytes(8, "big") * 10 for row in range(count)]

    with_database(run, body)


def test_a_hundred_queries_in_the_pipeline(run: Run) -> None:
    async def body(client: Client) -> None:
        answers = await asyncio.gather(*(client.query(f"rows {count}") for count in range(100)))
        assert [len(rows) for rows in answers] == list(range(100))

    with_database(run, body)


def test_a_large_result_under_flow_control(run: Run) -> None:
    async def body(client: Client) -> None:
        rows = await client.query("rows 30000")
        assert len(rows) == 30_000
        assert rows[-1] == (29_999).to_bytes(8, "big") * 10

    with_database(run, body)


def test_errors_belong_to_their_query(run: Run) -> None:
    async def body(client: Client) -> None:
        first, second, third = await asyncio.gather(
            client.query("rows 1"), client.query("fail"), client.query("rows 2"), return_exceptions=True
        )
        assert len(first) == 1
        assert isinstance(second, RuntimeError)
        assert str(second) == "syntax error"
        assert len(third) == 2

    with_database(run, body)


def test_a_query_that_is_cancelled_leaves_the_connection_usable(run: Run) -> None:
    async def body(client: Client) -> None:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.query("sleep 60"), 0.002)
            assert len(await client.query("rows 3")) == 3

    with_database(run, body)


def test_notices_come_between(run: Run) -> None:
    async def body(client: Client) -> None:
        await asyncio.gather(client.query("notice one"), client.query("rows 10"), client.query("notice two"))
        assert client.notices == ["one", "two"]

    with_database(run, body)
