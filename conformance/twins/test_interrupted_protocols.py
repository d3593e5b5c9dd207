"""After KeyboardInterrupt or SystemExit out of a protocol, a loop that is run again goes on where it was.

A REPL, a debugger and asyncio.Runner's own clean-up all run the loop again; nothing that the kernel has told may be lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .support import BufferedRecorder, Recorder, eventually, socket_pair

FATAL = pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])


class Trap:
    """Raises once, where a test puts it."""

    def __init__(self, error: type[BaseException]) -> None:
        self.errors = [error("made by a test")]

    def spring(self) -> None:
        if self.errors:
            raise self.errors.pop()


@pytest.fixture
def interrupted(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[..., tuple[Any, socket.socket]]]:
    """Connect a protocol, let `before` act on the peer, run until the trap springs; the protocol and the peer."""
    peers: list[socket.socket] = []
    protocols: list[Any] = []

    def interrupted(factory: Callable[[], Any], trap: Trap, before: Callable[[socket.socket], object]) -> Any:
        ours, peer = socket_pair("unix")
        peers.append(peer)

        def make() -> Any:
            protocols.append(factory())
            return protocols[-1]

        connecting = loop.create_task(loop.create_unix_connection(make, sock=ours))
        before(peer)
        with pytest.raises((KeyboardInterrupt, SystemExit), match="made by a test"):
            loop.run_until_complete(asyncio.sleep(5))
        assert trap.errors == []
        return protocols[-1], peer, connecting

    yield interrupted
    for protocol in protocols:
        if protocol.transport is not None and not protocol.lost.done():
            protocol.transport.abort()
            loop.run_until_complete(protocol.lost)
    for peer in peers:
        peer.close()


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, 5)


@FATAL
def test_data_received_goes_on_with_the_rest(
    loop: asyncio.AbstractEventLoop, interrupted: Any, error: type[BaseException]
) -> None:
    trap = Trap(error)

    class Trapped(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            trap.spring()

    def before(peer: socket.socket) -> None:
        peer.sendall(b"first")
        peer.shutdown(socket.SHUT_WR)

    protocol, _, _ = interrupted(Trapped, trap, before)
    assert loop.run_until_complete(within(protocol.lost)) is None
    assert protocol.data == b"first"
    assert protocol.events[-2:] == ["eof", "lost"]


@FATAL
def test_data_that_comes_later_arrives(
    loop: asyncio.AbstractEventLoop, interrupted: Any, error: type[BaseException]
) -> None:
    trap = Trap(error)

    class Trapped(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            trap.spring()

    protocol, peer, _ = interrupted(Trapped, trap, lambda peer: peer.sendall(b"first "))
    peer.sendall(b"second")
    assert loop.run_until_complete(protocol.received(12)) == b"first second"


@FATAL
def test_eof_received_is_asked_again(
    loop: asyncio.AbstractEventLoop, interrupted: Any, error: type[BaseException]
) -> None:
    trap = Trap(error)

    class Trapped(Recorder):
        def eof_received(self) -> None:
            trap.spring()
            super().eof_received()

    protocol, _, _ = interrupted(Trapped, trap, lambda peer: peer.shutdown(socket.SHUT_WR))
    assert loop.run_until_complete(within(protocol.lost)) is None
    assert protocol.events == ["made", "eof", "lost"]


@FATAL
def test_the_connection_is_made_all_the_same(
    loop: asyncio.AbstractEventLoop, interrupted: Any, error: type[BaseException]
) -> None:
    trap = Trap(error)

    class Trapped(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            trap.spring()

    protocol, _, connecting = interrupted(Trapped, trap, lambda peer: peer.sendall(b"hello"))
    transport, made = loop.run_until_complete(within(connecting))
    assert made is protocol
    assert transport is protocol.transport
    assert loop.run_until_complete(protocol.received(5)) == b"hello"


@FATAL
@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_a_buffered_protocol_goes_on_with_the_rest(
    loop: asyncio.AbstractEventLoop, interrupted: Any, error: type[BaseException], method: str
) -> None:
    trap = Trap(error)

    class Trapped(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            if method == "get_buffer":
                trap.spring()
            return super().get_buffer(sizehint)

        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            if method == "buffer_updated":
                trap.spring()

    def before(peer: socket.socket) -> None:
        peer.sendall(b"0123456789" * 3)
        peer.shutdown(socket.SHUT_WR)

    protocol, _, _ = interrupted(lambda: Trapped(10), trap, before)
    assert loop.run_until_complete(within(protocol.lost)) is None
    assert protocol.data == b"0123456789" * 3


@FATAL
def test_connection_lost_was_called_and_the_socket_is_closed(
    loop: asyncio.AbstractEventLoop, interrupted: Any, error: type[BaseException]
) -> None:
    trap = Trap(error)

    class Trapped(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            trap.spring()

    protocol, peer, _ = interrupted(Trapped, trap, lambda peer: peer.shutdown(socket.SHUT_WR))
    loop.run_until_complete(asyncio.sleep(0.001))
    assert protocol.events == ["made", "eof", "lost"]
    assert peer.recv(1) == b""


@FATAL
def test_a_server_goes_on_with_the_next_connection(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    trap = Trap(error)
    made: list[Recorder] = []

    class Trapped(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)
            trap.spring()

    server = loop.run_until_complete(loop.create_server(Trapped, "127.0.0.1", 0))
    clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(3)]
    for client in clients:
        client.send(b"hello")
    with pytest.raises(error, match="made by a test"):
        loop.run_until_complete(asyncio.sleep(5))

    async def rest() -> None:
        await eventually(lambda: len(made) == 3)
        for protocol in made:
            assert await protocol.received(5) == b"hello"
        for client in clients:
            client.close()
        for protocol in made:
            await within(protocol.lost)
        server.close()
        await server.wait_closed()

    loop.run_until_complete(within(rest()))


@FATAL
def test_pause_writing_goes_on(loop: asyncio.AbstractEventLoop, interrupted: Any, error: type[BaseException]) -> None:
    # asyncio lets the interrupt out of the write itself; the bytes go all the same. (After one in resume_writing,
    # asyncio's own transport never stops to complain.)
    trap = Trap(error)
    payload = bytes(1 << 20)

    class Trapped(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transport.write(payload)  # type: ignore[attr-defined]

        def pause_writing(self) -> None:
            super().pause_writing()
            trap.spring()

    received = bytearray()

    def drain(peer: socket.socket) -> None:
        peer.setblocking(False)
        loop.add_reader(peer, lambda: received.extend(peer.recv(65536)))

    protocol, peer, _ = interrupted(Trapped, trap, drain)

    async def rest() -> None:
        await eventually(lambda: len(received) == len(payload))
        protocol.transport.write(b"and on")
        await eventually(lambda: len(received) == len(payload) + 6)
        assert protocol.transport.get_write_buffer_size() == 0

    loop.run_until_complete(within(rest()))
    loop.remove_reader(peer)
