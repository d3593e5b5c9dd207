"""The websockets library, unmodified: its own transport handling, flow control and closing handshake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

Run = Callable[..., Any]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def address(server: Any) -> str:
    return "ws://{}:{}".format(*server.sockets[0].getsockname())


def test_messages_of_every_kind(run: Run) -> None:
    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0, max_size=1 << 24) as server:
            async with connect(address(server), max_size=1 << 24) as client:
                for message in ("text", "ünïcode", b"bytes", "", b"", "x" * 100_000, bytes(3_000_000)):
                    await client.send(message)
                    assert await client.recv() == message

    run(main)


def test_fragments(run: Run) -> None:
    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0) as server, connect(address(server)) as client:
            await client.send(["one ", "two ", "three"])
            assert await client.recv() == "one two three"

    run(main)


def test_pings(run: Run) -> None:
    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0) as server, connect(address(server)) as client:
            for _ in range(10):
                assert await (await client.ping()) >= 0

    run(main)


def test_closing_by_either_side(run: Run) -> None:
    async def hang_up(connection: ServerConnection) -> None:
        await connection.close(4000, "enough")

    async def main() -> None:
        async with serve(hang_up, "127.0.0.1", 0) as server, connect(address(server)) as client:
            with pytest.raises(ConnectionClosedError) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "enough")
        async with serve(echo, "127.0.0.1", 0) as server, connect(address(server)) as client:
            await client.close()
            with pytest.raises(ConnectionClosedOK):
                await client.send("too late")

    run(main)


def test_a_reader_that_does_not_read_holds_the_sender_back(run: Run) -> None:
    async def main() -> None:
        async def pour(connection: ServerConnection) -> None:
            for _ in range(100):
                await connection.send(bytes(100_000))

        async with serve(pour, "127.0.0.1", 0, compression=None) as server:
            async with connect(address(server), compression=None) as client:
                await asyncio.sleep(0.02)
                for _ in range(100):
                    assert await client.recv() == bytes(100_000)

    run(main)


def test_forty_clients_and_a_broadcast(run: Run) -> None:
    async def main() -> None:
        everybody: set[ServerConnection] = set()
        complete = asyncio.Event()

        async def join(connection: ServerConnection) -> None:
            everybody.add(connection)
            if len(everybody) == 40:
                complete.set()
            async for message in connection:
                for member in everybody:
                    await member.send(message)

        async with serve(join, "127.0.0.1", 0) as server:
            clients = [await connect(address(server)) for _ in range(40)]
            await complete.wait()
            await clients[0].send("to all")
            assert await asyncio.gather(*(client.recv() for client in clients)) == ["to all"] * 40
            await asyncio.gather(*(client.close() for client in clients))

    run(main)
