"""websockets' public client and server: a handshake, frames, compression, pings and closings on our transports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import certificates
import pytest
from websockets.asyncio.client import connect, unix_connect
from websockets.asyncio.server import broadcast, serve, unix_serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus


async def echo(connection: Any) -> None:
    async for message in connection:
        await connection.send(message)


def converse(
    main: Callable[[str], Awaitable[None]], handler: Callable[[Any], Awaitable[None]] = echo, **options: Any
) -> None:
    async def whole() -> None:
        async with serve(handler, "127.0.0.1", 0, **options) as server:
            scheme = "wss" if "ssl" in options else "ws"
            await main(f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/")

    asyncio.run(whole())


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_536, 900_000])
def test_messages_of_every_size_come_back(size: int, compression: str | None) -> None:
    async def main(url: str) -> None:
        async with connect(url, compression=compression) as connection:
            await connection.send("ž" * (size // 2))
            assert await connection.recv() == "ž" * (size // 2)
            await connection.send(bytes(size))
            assert await connection.recv() == bytes(size)

    converse(main, compression=compression)


def test_many_clients_at_once() -> None:
    async def main(url: str) -> None:
        async def client(number: int) -> list[Any]:
            async with connect(url) as connection:
                for count in range(20):
                    await connection.send(f"{number}.{count}")
                return [await connection.recv() for _ in range(20)]

        found = await asyncio.gather(*(client(number) for number in range(30)))
        assert found == [[f"{number}.{count}" for count in range(20)] for number in range(30)]

    converse(main)


def test_a_message_in_fragments() -> None:
    async def main(url: str) -> None:
        async def pieces() -> Any:
            for number in range(50):
                yield f"{number} " * 100

        async with connect(url) as connection:
            await connection.send(pieces())
            assert await connection.recv() == "".join(f"{number} " * 100 for number in range(50))

    converse(main)


def test_a_ping_is_answered() -> None:
    async def main(url: str) -> None:
        async with connect(url, ping_interval=None) as connection:
            assert await (await connection.ping()) >= 0

    converse(main)


def test_a_broadcast_reaches_all() -> None:
    async def main(url: str) -> None:
        async with connect(url) as first, connect(url) as second, connect(url) as third:
            for connection in (first, second, third):
                await connection.send("here")
            assert [await connection.recv() for connection in (first, second, third)] == ["all here"] * 3

    present: set[Any] = set()

    async def room(connection: Any) -> None:
        await connection.recv()
        present.add(connection)
        if len(present) == 3:
            broadcast(present, "all here")
        await connection.wait_closed()

    converse(main, room)


def test_closings() -> None:
    async def main(url: str) -> None:
        async with connect(url) as connection:
            await connection.send("good")
            with pytest.raises(ConnectionClosedOK):
                await connection.recv()
        async with connect(url) as connection:
            await connection.send("bad")
            with pytest.raises(ConnectionClosedError) as caught:
                await connection.recv()
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "as it should")
        async with connect(url) as connection:
            await connection.send("abort")
            with pytest.raises(ConnectionClosedError):
                await connection.recv()

    async def closer(connection: Any) -> None:
        match await connection.recv():
            case "good":
                await connection.close()
            case "bad":
                await connection.close(4000, "as it should")
            case "abort":
                connection.transport.abort()

    converse(main, closer)


def test_a_slow_reader_holds_the_writer_back() -> None:
    async def main(url: str) -> None:
        async with connect(url, max_queue=2, compression=None) as connection:
            await connection.send("go")
            await blocked.wait()
            for number in range(200):
                assert await connection.recv() == bytes([number]) * 100_000

    blocked = asyncio.Event()

    async def flood(connection: Any) -> None:
        await connection.recv()
        for number in range(200):
            sending = asyncio.ensure_future(connection.send(bytes([number]) * 100_000))
            # A task that has not ended when its step is over waits in drain().
            await asyncio.sleep(0)
            if not sending.done():
                blocked.set()
            await sending
        await connection.wait_closed()

    converse(main, flood, compression=None)


def test_a_refused_handshake() -> None:
    async def main(url: str) -> None:
        with pytest.raises(InvalidStatus) as caught:
            await connect(url)
        assert caught.value.response.status_code == 403

    converse(main, process_request=lambda connection, request: connection.respond(403, "no\n"))


def test_by_a_unix_socket(tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        async with unix_serve(echo, path), unix_connect(path) as connection:
            await connection.send("hello")
            assert await connection.recv() == "hello"

    asyncio.run(main())


def test_encrypted() -> None:
    async def main(url: str) -> None:
        async with connect(url, ssl=certificates.client_context()) as connection:
            assert connection.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
            for size in (1, 16_384, 500_000):
                await connection.send(bytes(size))
                assert await connection.recv() == bytes(size)

    converse(main, ssl=certificates.server_context())
