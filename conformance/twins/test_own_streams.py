"""Readers and writers: one body, on asyncio's streams with asyncio's loop and on tepal's own with tepal's loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import Run
from .tls_support import Contexts


class Paused:
    """A transport that only notes whether it is to read."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")


async def outcome(awaitable: Any) -> Any:
    """What it returns, or all that its exception says."""
    try:
        return await awaitable
    except Exception as error:  # noqa: BLE001 - it is the outcome
        return repr(error), error.args, sorted(vars(error).items(), key=str)


async def session(reader: Any, transport: Paused, seed: int) -> list[Any]:
    """Feeds and reads as chance will, and all that came of it."""
    chance = random.Random(seed)
    log: list[Any] = []
    waiting: asyncio.Task[Any] | None = None

    def read() -> Any:
        count = chance.choice((0, 1, 3, 8, 20))
        separators = [chance.choice((b"\n", b"ab", b"abc", b"c", b"\r\n")) for _ in range(chance.randrange(1, 4))]
        several = tuple(separators) if sys.version_info >= (3, 13) else separators[0]
        return chance.choice(
            (
                lambda: reader.read(count),
                lambda: reader.readexactly(count),
                reader.readline,
                lambda: reader.readuntil(chance.choice((separators[0], several))),
                lambda: reader.read() if chance.random() < 0.2 else reader.read(1),
                lambda: anext(reader, b"last"),
            )
        )()

    for _ in range(chance.randrange(3, 30)):
        kind = chance.randrange(12)
        if kind < 5 and not reader._eof:
            reader.feed_data(bytes(chance.choices(b"abc\r\n", k=chance.choice((0, 1, 2, 5, 30)))))
        elif kind == 5:
            reader.feed_eof()
        elif kind == 6 and chance.random() < 0.2:
            reader.set_exception(ValueError("set"))
        elif kind == 7 and waiting is not None:
            waiting.cancel()
            await asyncio.sleep(0)
            log.append(waiting.cancelled())
        elif waiting is None or waiting.done():
            waiting = asyncio.create_task(outcome(read()))
        else:
            log.append(await outcome(read()) if chance.random() < 0.3 and not reader._buffer else "busy")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if waiting is not None and waiting.done() and not waiting.cancelled():
            log.append(waiting.result())
            waiting = None
        log.append((reader.at_eof(), len(reader._buffer) if seed % 3 else -1, [*transport.events]))
    if waiting is not None:
        waiting.cancel()
    log.append((bytes(reader._buffer), repr(reader.exception())))
    return log


@pytest.mark.parametrize("part", range(10))
def test_a_reader_does_what_asyncios_does(run: Run, kit: Any, part: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for seed in range(part, 1500, 10):
            logs = []
            for kind in (asyncio.StreamReader, kit.StreamReader):
                reader, transport = kind(limit=1 + seed % 17, loop=loop), Paused()
                reader.set_transport(transport)
                logs.append(await session(reader, transport, seed))
            assert logs[0] == logs[1], f"the session of seed {seed}"

    run(main)


def test_readers_refuse_what_asyncios_refuse(run: Run, kit: Any) -> None:
    async def main() -> None:
        reader = kit.StreamReader(limit=5)
        assert isinstance(reader, asyncio.StreamReader)
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            kit.StreamReader(limit=0)
        with pytest.raises(ValueError, match="less than zero"):
            await reader.readexactly(-1)
        with pytest.raises(ValueError, match="at least one-byte"):
            await reader.readuntil(b"")
        waiting = asyncio.create_task(reader.read(1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"readuntil\(\) called while another coroutine is already waiting"):
            await reader.readline()
        reader.feed_data(b"123456789")
        assert await waiting == b"1"
        with pytest.raises(ValueError, match="Separator is not found, and chunk exceed the limit"):
            await reader.readline()
        assert not reader._buffer
        reader.feed_eof()
        with pytest.raises(AssertionError):
            reader.feed_data(b"late")
        with pytest.raises(AssertionError):
            reader.set_transport(Paused())
            reader.set_transport(Paused())
        assert "StreamReader" in repr(reader)

    run(main)


def test_whoever_changes_the_buffer_is_heard(run: Run, kit: Any) -> None:
    async def main() -> None:
        reader = kit.StreamReader()
        reader.feed_data(b"one two")
        del reader._buffer[:4]
        assert await reader.read(2) == b"tw"
        reader._buffer.extend(b"\nthree")
        assert await reader.readline() == b"o\n"
        reader.feed_data(b" four")
        assert reader._buffer == b"three four"
        assert await reader.readexactly(5) == b"three"

    run(main)


@pytest.mark.parametrize("look", ["nobody", "at_eof", "buffer", "more"])
@pytest.mark.parametrize("end", ["cancelled", "read"])
def test_what_comes_for_a_waiting_read_stands_in_the_buffer_until_it_runs(
    run: Run, kit: Any, look: str, end: str
) -> None:
    async def main() -> None:
        reader, transport = kit.StreamReader(limit=2), Paused()
        reader.set_transport(transport)
        waiting = asyncio.create_task(reader.read(100))
        await asyncio.sleep(0)
        reader.feed_data(b"first ")
        expected = b"first "
        assert transport.events == ["pause"]
        if look == "at_eof":
            assert not reader.at_eof()
        elif look == "buffer":
            assert reader._buffer == expected
        elif look == "more":
            reader.feed_data(b"second ")
            expected += b"second "
        if end == "cancelled":
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert transport.events == ["pause"]
            assert await reader.readexactly(3) == expected[:3]
            assert await reader.read(100) == expected[3:]
        else:
            assert await waiting == expected
        assert transport.events == ["pause", "resume"]
        reader.feed_eof()
        assert reader.at_eof()

    run(main)


def test_a_waiting_read_takes_no_more_than_it_asked_for(run: Run, kit: Any) -> None:
    async def main() -> None:
        reader = kit.StreamReader()
        waiting = asyncio.create_task(reader.read(4))
        await asyncio.sleep(0)
        reader.feed_data(b"five5")
        assert await waiting == b"five"
        waiting = asyncio.create_task(reader.read(4))
        reader.feed_data(b"six")
        assert await waiting == b"5six"
        waiting = asyncio.create_task(reader.read(4))
        await asyncio.sleep(0)
        reader.feed_data(b"four")
        reader._buffer = bytearray(b"other")
        assert await waiting == b"othe"

    run(main)


def test_a_reader_may_be_subclassed(run: Run, kit: Any) -> None:
    class Loud(kit.StreamReader):  # type: ignore[misc]
        def feed_data(self, data: bytes) -> None:
            super().feed_data(data.upper())

    async def main() -> None:
        async def answer(_reader: Any, writer: Any) -> None:
            writer.write(b"quiet\n")
            writer.close()

        server = await kit.start_server(answer, "127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        reader = Loud()
        protocol = kit.StreamReaderProtocol(reader, loop=loop)
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(lambda: protocol, *address)
        assert await reader.readline() == b"QUIET\n"
        transport.close()
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_an_exchange(run: Run, kit: Any, family: str, tmp_path: Path) -> None:
    async def main() -> None:
        ended = asyncio.get_running_loop().create_future()

        async def serve(reader: Any, writer: Any) -> None:
            async for line in reader:
                writer.writelines([line, line.upper()])
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            ended.set_result(reader.at_eof())

        if family == "tcp":
            server = await kit.start_server(serve, "127.0.0.1", 0, limit=100)
            reader, writer = await kit.open_connection(*server.sockets[0].getsockname())
        else:
            path = str(tmp_path / "socket")
            server = await kit.start_unix_server(serve, path)
            reader, writer = await kit.open_unix_connection(path)
        assert isinstance(writer, asyncio.StreamWriter)
        for number in range(50):
            writer.write(b"line %d\n" % number)
            if number % 7 == 0:
                await writer.drain()
        for number in range(50):
            assert await reader.readline() == b"line %d\n" % number
            assert await reader.readuntil(b"\n") == b"LINE %d\n" % number
        assert writer.can_write_eof()
        assert writer.get_extra_info("socket") is not None
        writer.write_eof()
        assert await reader.read() == b""
        assert await ended
        assert not writer.is_closing()
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_large_bytes_and_a_reader_that_is_slow(run: Run, kit: Any) -> None:
    """More than twice the limit: the transport is paused, and the writer waits in `drain`."""

    async def main() -> None:
        size, seen = 3_000_000, []

        async def serve(reader: Any, writer: Any) -> None:
            while data := await reader.read(70_000):
                seen.append(len(data))
                await asyncio.sleep(0)
            writer.write(b"%d" % sum(seen))
            writer.close()

        server = await kit.start_server(serve, "127.0.0.1", 0)
        reader, writer = await kit.open_connection(*server.sockets[0].getsockname())
        for _ in range(30):
            writer.write(bytes(size // 30))
            await writer.drain()
        writer.write_eof()
        assert int(await reader.read()) == size
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await writer.drain()
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("seed", range(4))
def test_messages_of_all_sizes_come_whole_however_they_are_read(run: Run, kit: Any, seed: int) -> None:
    chance = random.Random(seed)
    sizes = [chance.choice((3, 700, 1023, 9_000, 70_000, 400_000)) for _ in range(40)]
    content = b"".join(chance.choice((b"a", b"b")) * size + b"\n" for size in sizes)

    async def main() -> None:
        async def serve(_reader: Any, writer: Any) -> None:
            place = 0
            while place < len(content):
                size = chance.choice((10, 1024, 50_000, 300_000))
                writer.write(content[place : place + size])
                place += size
                await writer.drain()
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            writer.close()

        server = await kit.start_server(serve, "127.0.0.1", 0, limit=1_000_000)
        reader, writer = await kit.open_connection(*server.sockets[0].getsockname(), limit=1_000_000)
        got = b""
        while not reader.at_eof():
            kind = chance.randrange(4)
            if kind == 0:
                got += await reader.read(chance.choice((1, 100, 30_000, 500_000)))
            elif kind == 1:
                got += await reader.readline()
            elif kind == 2:
                got += await reader.readexactly(min(chance.choice((10, 20_000, 350_000)), len(content) - len(got)))
            else:
                with contextlib.suppress(TimeoutError):
                    got += await asyncio.wait_for(reader.read(200_000), 0)
        assert got == content
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_a_lost_connection_is_told_to_reader_and_writer(run: Run, kit: Any) -> None:
    async def main() -> None:
        async def serve(_reader: Any, writer: Any) -> None:
            writer.transport.abort()

        server = await kit.start_server(serve, "127.0.0.1", 0)
        reader, writer = await kit.open_connection(*server.sockets[0].getsockname())
        lost = (ConnectionResetError, BrokenPipeError)
        with pytest.raises(lost):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.001)
        try:
            assert await reader.read() == b""
        except lost as error:
            assert reader.exception() is error
        writer.close()
        with contextlib.suppress(*lost):
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_a_callback_that_fails_is_told_and_closes(run: Run, kit: Any) -> None:
    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        async def serve(_reader: Any, _writer: Any) -> None:
            raise ValueError("in the callback")

        server = await kit.start_server(serve, "127.0.0.1", 0)
        reader, writer = await kit.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        assert [(one["message"], str(one["exception"])) for one in told] == [
            ("Unhandled exception in client_connected_cb", "in the callback")
        ]

    run(main)


def test_an_exchange_through_tls(run: Run, kit: Any, tls: Contexts) -> None:
    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
            writer.close()

        server = await kit.start_server(serve, "127.0.0.1", 0, ssl=tls.server(), limit=2**20)
        address = server.sockets[0].getsockname()
        reader, writer = await kit.open_connection(*address, ssl=tls.client(), server_hostname="localhost", limit=2**20)
        for size in (1, 1000, 20_000, 500_000):
            writer.write(bytes([65 + size % 7]) * size + b"\n")
            await writer.drain()
            assert await reader.readuntil() == bytes([65 + size % 7]) * size + b"\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_tls_may_come_in_between(run: Run, kit: Any, tls: Contexts) -> None:
    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.start_tls(tls.server())
            assert writer.get_extra_info("ssl_object") is not None
            writer.write(await reader.readline())
            writer.close()

        server = await kit.start_server(serve, "127.0.0.1", 0)
        reader, writer = await kit.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(tls.client(), server_hostname="localhost")
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_bytes_come_while_somebody_holds_the_buffer(run: Run, kit: Any) -> None:
    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        async def serve(reader: Any, writer: Any) -> None:
            await reader.readline()
            writer.write(b"an answer\n" * 100)
            writer.close()

        server = await kit.start_server(serve, "127.0.0.1", 0)
        reader, writer = await kit.open_connection(*server.sockets[0].getsockname())
        with memoryview(reader._buffer):
            writer.write(b"go\n")
            with pytest.raises(BufferError):
                await reader.readline()
        assert [type(context["exception"]) for context in told] == [BufferError]
        writer.close()
        with contextlib.suppress(BufferError):
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)
