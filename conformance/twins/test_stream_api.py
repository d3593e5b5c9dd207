"""asyncio's StreamReader and StreamWriter over the loop's transports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from .support import Run, eventually, reset, socket_pair

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["tcp", "unix"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Handler], Awaitable[asyncio.Server]]:
    async def serve(handler: Handler) -> asyncio.Server:
        if request.param == "unix":
            return await asyncio.start_unix_server(handler, tmp_path / "socket")
        return await asyncio.start_server(handler, "127.0.0.1", 0)

    return serve


Serve = Callable[[Handler], Awaitable[asyncio.Server]]


async def dial(server: asyncio.Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = server.sockets[0].getsockname()
    if isinstance(address, str):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    await hang_up(writer)


async def idle() -> None:
    """Wait until the handlers of a server have ended."""
    await eventually(lambda: len(asyncio.all_tasks()) == 1)


def test_echo(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with await serve(echo) as server:
            reader, writer = await dial(server)
            for number in range(20):
                writer.write(bytes([number]) * 100)
                assert await reader.readexactly(100) == bytes([number]) * 100
            await hang_up(writer)
            await idle()

    run(main)


def test_much(run: Run, serve: Serve) -> None:
    payload = bytes(range(256)) * 8192

    async def main() -> None:
        async with await serve(echo) as server:
            reader, writer = await dial(server)
            receiving = asyncio.create_task(reader.readexactly(len(payload)))
            for start in range(0, len(payload), 50_000):
                writer.write(payload[start : start + 50_000])
                await writer.drain()
            assert await receiving == payload
            await hang_up(writer)
            await idle()

    run(main)


def test_every_way_of_reading(run: Run, serve: Serve) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines([b"line one\n", b"line two\nexactly", b"until|it", b"erates\nover\nlines"])
        await hang_up(writer)

    async def main() -> None:
        async with await serve(speak) as server:
            reader, writer = await dial(server)
            assert await reader.readline() == b"line one\n"
            assert await reader.readline() == b"line two\n"
            assert await reader.readexactly(7) == b"exactly"
            assert await reader.readuntil(b"|") == b"until|"
            assert [line async for line in reader] == [b"iterates\n", b"over\n", b"lines"]
            assert reader.at_eof()
            assert await reader.read() == b""
            await hang_up(writer)
            await idle()

    run(main)


def test_an_end_too_early(run: Run, serve: Serve) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"short")
        await hang_up(writer)

    async def main() -> None:
        async with await serve(speak) as server:
            reader, writer = await dial(server)
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readexactly(10)
            assert caught.value.partial == b"short"
            await hang_up(writer)
            await idle()

    run(main)


def test_a_line_too_long(run: Run, serve: Serve) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 200_000 + b"\nshort\n")
        await hang_up(writer)

    async def main() -> None:
        async with await serve(speak) as server:
            reader, writer = await dial(server)
            with pytest.raises(asyncio.LimitOverrunError):
                await reader.readuntil(b"\n")
            while not (await reader.read(65536)).endswith(b"short\n"):
                pass
            await hang_up(writer)
            await idle()

    run(main)


def test_half_close(run: Run, serve: Serve) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        total = len(await reader.read())
        writer.write(str(total).encode())
        await hang_up(writer)

    async def main() -> None:
        async with await serve(count) as server:
            reader, writer = await dial(server)
            assert writer.can_write_eof()
            writer.write(bytes(100_000))
            writer.write_eof()
            assert await reader.read() == b"100000"
            await hang_up(writer)
            await idle()

    run(main)


def test_a_reader_that_does_not_read_holds_the_sender_back(run: Run, serve: Serve) -> None:
    # The reader's limit pauses its transport, the kernel fills up, the writer's drain waits.
    async def main() -> None:
        release, sent = asyncio.Event(), 0

        async def lazy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            while await reader.read(1 << 20):
                pass
            await hang_up(writer)

        async with await serve(lazy) as server:
            _, writer = await dial(server)

            async def pour() -> None:
                nonlocal sent
                for _ in range(400):
                    writer.write(bytes(100_000))
                    await writer.drain()
                    sent += 1

            pouring = asyncio.create_task(pour())
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.01)
            assert sent < 400
            release.set()
            await pouring
            await hang_up(writer)
            await idle()

    run(main)


def test_drain_after_the_connection_is_lost(run: Run) -> None:
    async def main() -> None:
        ours, peer = socket_pair("tcp")
        reader, writer = await asyncio.open_connection(sock=ours)
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await reader.read(10)
        with pytest.raises(ConnectionResetError):
            writer.write(b"x")
            await writer.drain()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()

    run(main)


def test_what_the_writer_tells(run: Run) -> None:
    async def main() -> None:
        ours, peer = socket_pair("tcp")
        _, writer = await asyncio.open_connection(sock=ours)
        with peer:
            assert writer.get_extra_info("peername") == peer.getsockname()
            assert isinstance(writer.transport, asyncio.Transport)
            assert not writer.is_closing()
            writer.close()
            assert writer.is_closing()
            await writer.wait_closed()

    run(main)


def test_one_reader_at_a_time(run: Run) -> None:
    async def main() -> None:
        ours, peer = socket_pair("tcp")
        reader, writer = await asyncio.open_connection(sock=ours)
        with peer:
            first = asyncio.create_task(reader.read(1))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another coroutine is already waiting"):
                await reader.read(1)
            first.cancel()
            await hang_up(writer)

    run(main)


def test_a_handler_that_fails_is_reported(run: Run, serve: Serve) -> None:
    async def fail(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        raise ValueError("from the handler")

    async def main() -> None:
        told: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with await serve(fail) as server:
            reader, writer = await dial(server)
            assert await reader.read() == b""
            await hang_up(writer)
            await eventually(lambda: told)
            assert isinstance(told[0]["exception"], ValueError)

    run(main)


def test_a_hundred_clients_at_once(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with await serve(echo) as server:

            async def client(number: int) -> None:
                reader, writer = await dial(server)
                for _ in range(5):
                    writer.write(number.to_bytes(4, "big"))
                    assert await reader.readexactly(4) == number.to_bytes(4, "big")
                await hang_up(writer)

            await asyncio.gather(*map(client, range(100)))
            await idle()

    run(main)


def test_cancelling_a_read_loses_nothing(run: Run) -> None:
    async def main() -> None:
        ours, peer = socket_pair("unix")
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        with peer:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(10), 0.001)
            peer.send(b"0123456789")
            assert await reader.readexactly(10) == b"0123456789"
            await hang_up(writer)

    run(main)


def test_over_a_socket_of_ones_own(run: Run) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=one)
        mate_reader, mate_writer = await asyncio.open_connection(sock=other)
        writer.write(b"ping")
        assert await mate_reader.readexactly(4) == b"ping"
        mate_writer.write(b"pong")
        assert await reader.readexactly(4) == b"pong"
        await hang_up(writer)
        assert await mate_reader.read() == b""
        await hang_up(mate_writer)

    run(main)
