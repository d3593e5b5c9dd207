"""Transports, protocols and servers: a protocol keeps its transport and the transport its protocol, always a cycle."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Collected = Callable[..., None]
Refs = tuple["weakref.ref[Any]", ...]


class Keeping(asyncio.Protocol):
    """A protocol that keeps its transport, as nearly all do."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.lost = asyncio.Event()
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set()


class Buffered(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self.buffer = bytearray(100)
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set()


async def connected(factory: Callable[[], Any] = Keeping) -> tuple[Any, Any, socket.socket]:
    ours, peer = socket.socketpair()
    transport, protocol = await asyncio.get_running_loop().create_unix_connection(factory, sock=ours)
    return transport, protocol, peer


def refs(*things: Any) -> Refs:
    return tuple(weakref.ref(thing) for thing in things)


@pytest.mark.parametrize("factory", [Keeping, Buffered])
@pytest.mark.parametrize("how", ["close", "abort", "eof"])
def test_a_closed_connection(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected, factory: Callable[[], Any], how: str
) -> None:
    async def main() -> Refs:
        transport, protocol, peer = await connected(factory)
        with peer:
            if how != "eof":
                getattr(transport, how)()
        await protocol.lost.wait()
        return refs(transport, protocol)

    assert_collected(*loop.run_until_complete(main()))


def test_a_connection_with_a_buffer_that_was_never_sent(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected
) -> None:
    class Payload(bytearray):
        pass

    async def main() -> Refs:
        transport, protocol, peer = await connected()
        with peer:
            payload = Payload(1 << 22)
            transport.write(payload)
            transport.abort()
            await protocol.lost.wait()
        return refs(transport, protocol, payload)

    assert_collected(*loop.run_until_complete(main()))


def test_a_file_that_was_never_sent(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected, tmp_path: Path
) -> None:
    """The transport keeps the future of a sending that goes on, and who waits for that keeps the transport."""
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 22))

    async def main() -> Refs:
        transport, protocol, peer = await connected()
        with path.open("rb") as file:
            done = loop.create_future()
            done.add_done_callback(lambda _, kept=transport: None)  # type: ignore[misc]
            transport._start_file(file.fileno(), 0, None, done)
            assert not done.done()
        peer.close()
        return refs(transport, protocol, done)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = loop.run_until_complete(main())
        loop.close()
        assert_collected(*found)


def test_an_open_connection_of_a_closed_loop_warns_and_closes(assert_collected: Collected) -> None:
    import tepal

    before = len(os.listdir("/proc/self/fd"))
    kept: list[socket.socket] = []

    async def main() -> Refs:
        transport, protocol, peer = await connected()
        kept.append(peer)
        return refs(transport, protocol)

    # The collector may come to the socket first, which then warns for itself.
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
            found = runner.run(main())
        del runner
        gc.collect()
    assert any("unclosed transport" in str(warning.message) for warning in seen)
    seen.clear()  # a warning holds what it is about
    assert_collected(*found)
    kept.pop().close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_transport_with_attributes_in_a_cycle(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> Refs:
        transport, protocol, peer = await connected()
        transport.myself = transport
        with peer:
            transport.close()
            await protocol.lost.wait()
        return refs(transport)

    assert_collected(*loop.run_until_complete(main()))


def test_a_replaced_protocol(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> tuple[Refs, Any]:
        transport, protocol, peer = await connected()
        other = Keeping()
        transport.set_protocol(other)
        found = refs(protocol)
        del protocol
        await asyncio.sleep(0)
        assert_collected(*found)
        with peer:
            transport.close()
            await other.lost.wait()
        return found, None

    loop.run_until_complete(main())


def test_a_failing_protocol_leaves_no_cycle_behind(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected
) -> None:
    class Failing(Keeping):
        def data_received(self, data: bytes) -> None:
            raise ValueError

    async def main() -> Refs:
        loop.set_exception_handler(lambda _loop, _context: None)
        transport, protocol, peer = await connected(Failing)
        with peer:
            peer.send(b"x")
            await protocol.lost.wait()
        return refs(transport, protocol)

    assert_collected(*loop.run_until_complete(main()))


def test_a_server_and_its_connections(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> Refs:
        accepted = loop.create_future()

        def factory() -> Keeping:
            accepted.set_result(Keeping())
            return accepted.result()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        server.myself = server  # type: ignore[attr-defined]
        async with server:
            transport, protocol = await loop.create_connection(Keeping, *server.sockets[0].getsockname())
            transport.close()
            await protocol.lost.wait()
            served = await accepted
            await served.lost.wait()
        return refs(server, transport, protocol, served, served.transport, factory)

    assert_collected(*loop.run_until_complete(main()))


def test_a_refused_connection(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> Refs:
        made: list[weakref.ref[Any]] = []

        def factory() -> Keeping:
            protocol = Keeping()
            made.append(weakref.ref(protocol))
            return protocol

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(factory, *free.getsockname())
        return (*made, weakref.ref(factory))

    assert_collected(*loop.run_until_complete(main()))


def test_a_stream_writer_that_is_dropped(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> Refs:
        ours, peer = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        with peer:
            writer.close()
            await writer.wait_closed()
        return refs(reader, writer, writer.transport)

    assert_collected(*loop.run_until_complete(main()))
