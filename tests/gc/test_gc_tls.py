"""TLS: transport and layer hold each other, the protocol and the session; all of it goes when nobody else asks."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Collected = Callable[..., None]
Refs = tuple["weakref.ref[Any]", ...]

CERTIFICATES = Path(__file__).resolve().parents[1] / "certificates"


class Own(ssl.SSLObject):
    """Leads to the engine that goes through Python."""


@pytest.fixture(params=["direct", "bio"])
def contexts(request: pytest.FixtureRequest) -> Callable[[], tuple[ssl.SSLContext, ssl.SSLContext]]:
    """Makes a client's and a server's context for one engine."""

    def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(CERTIFICATES / "authority.pem")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(CERTIFICATES / "server.pem")
        if request.param == "bio":
            client.sslobject_class = server.sslobject_class = Own
        return client, server

    return contexts


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Whatever goes now, goes by counting alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Keeping(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

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


async def connected(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], factory: Callable[[], Any] = Keeping
) -> tuple[Any, Any]:
    """Two protocols, the client's and the server's."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    (_, client), (_, server) = await asyncio.gather(
        loop.create_connection(factory, sock=ours, ssl=contexts[0], server_hostname="localhost"),
        loop.connect_accepted_socket(factory, theirs, ssl=contexts[1]),
    )
    return client, server


def refs(*things: Any) -> Refs:
    return tuple(weakref.ref(thing) for thing in things)


Contexts = Callable[[], tuple[ssl.SSLContext, ssl.SSLContext]]


@pytest.mark.parametrize("factory", [Keeping, Buffered])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_connection_that_has_ended(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected, contexts: Contexts, factory: Any, end: str
) -> None:
    async def main() -> Refs:
        pair = contexts()
        client, server = await connected(pair, factory)
        layer = client.transport._ssl_protocol
        client.transport.myself = client.transport
        getattr(client.transport, end)()
        await client.lost.wait()
        await server.lost.wait()
        return refs(client, client.transport, layer, server, server.transport, *pair)

    assert_collected(*loop.run_until_complete(main()))


@pytest.mark.parametrize("state", ["open", "writing", "paused", "closing", "handshake", "nested"])
def test_a_connection_of_a_loop_that_is_gone(assert_collected: Collected, contexts: Contexts, state: str) -> None:
    import tepal

    async def main() -> Refs:
        loop = asyncio.get_running_loop()
        pair = contexts()
        if state == "handshake":
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            kept.append(theirs)
            transport, protocol = await loop.create_unix_connection(Keeping, sock=ours)
            upgrading = asyncio.ensure_future(loop.start_tls(transport, protocol, pair[0], server_hostname="localhost"))
            await asyncio.sleep(0.001)
            layer = transport.get_protocol()
            upgrading.cancel()
            await asyncio.wait([upgrading])
            return refs(transport, protocol, layer, layer._app_transport or layer, *pair)
        client, server = await connected(pair)
        client.transport.myself = client.transport
        client.transport.cycle = [client.transport._ssl_protocol]
        if state == "writing":
            client.transport.write(bytes(3_000_000))
        elif state == "paused":
            client.transport.pause_reading()
            server.transport.write(bytes(100_000))
            await asyncio.sleep(0.001)
        elif state == "closing":
            server.transport.pause_reading()
            client.transport.close()
        elif state == "nested":
            inner, outer = await asyncio.gather(
                loop.start_tls(client.transport, client, pair[0], server_hostname="localhost"),
                loop.start_tls(server.transport, server, pair[1], server_side=True),
            )
            inner.cycle = outer.cycle = [inner, outer]
        return refs(client, client.transport, client.transport._ssl_protocol, server, server.transport, *pair)

    kept: list[socket.socket] = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
            found = runner.run(main())
        del runner
        gc.collect()
    seen.clear()  # a warning holds what it is about
    assert_collected(*found)
    for sock in kept:
        sock.close()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("how", ["name", "garbage", "eof", "timeout", "cancelled"])
def test_a_failed_handshake_leaves_no_cycle(loop: asyncio.AbstractEventLoop, contexts: Contexts, how: str) -> None:
    """Context, session and transports go by counting alone, once the exception is dropped."""
    found: list[weakref.ref[Any]] = []
    sessions: list[weakref.ref[Any]] = []

    class Watching(ssl.SSLContext):
        def wrap_bio(self, *args: Any, **keywords: Any) -> ssl.SSLObject:
            made = super().wrap_bio(*args, **keywords)
            sessions.append(weakref.ref(made))
            return made

    async def main() -> None:
        context = Watching(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(CERTIFICATES / "authority.pem")
        context.sslobject_class = contexts()[0].sslobject_class
        found.append(weakref.ref(context))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        accepting = None
        if how == "name":
            accepting = asyncio.ensure_future(loop.connect_accepted_socket(Keeping, theirs, ssl=contexts()[1]))
        elif how == "garbage":
            theirs.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif how == "eof":
            theirs.shutdown(socket.SHUT_WR)
        limit = 0.01 if how == "timeout" else 10
        connecting = asyncio.ensure_future(
            loop.create_connection(
                Keeping, sock=ours, ssl=context, server_hostname="example.org", ssl_handshake_timeout=limit
            )
        )
        del context
        if how == "cancelled":
            await asyncio.sleep(0.001)
            connecting.cancel()
        await asyncio.wait([connecting])
        if how != "cancelled":
            assert isinstance(connecting.exception(), OSError)
        if accepting is not None:
            await asyncio.wait([accepting])
            accepting.exception()
        else:
            theirs.close()

    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    assert [ref() for ref in found] == [None]
    assert sessions
    assert [ref() for ref in sessions] == [None] * len(sessions)


@pytest.mark.usefixtures("without_collector")
def test_a_server_forgets_the_strangers_that_failed(loop: asyncio.AbstractEventLoop, contexts: Contexts) -> None:
    sessions: list[weakref.ref[Any]] = []

    class Watching(ssl.SSLContext):
        def wrap_bio(self, *args: Any, **keywords: Any) -> ssl.SSLObject:
            made = super().wrap_bio(*args, **keywords)
            sessions.append(weakref.ref(made))
            return made

    async def main() -> None:
        context = Watching(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / "server.pem")
        context.sslobject_class = contexts()[1].sslobject_class
        server = await loop.create_server(Keeping, "127.0.0.1", 0, ssl=context)
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            try:
                await reader.read()
            except ConnectionResetError:
                pass
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionResetError:
                pass
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    assert len(sessions) == 3
    assert [ref() for ref in sessions] == [None] * 3
