"""What the probes share: a protocol that remembers, sockets, files and certificates."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

CERTIFICATE = Path(__file__).with_name("certificate.pem")
"""A certificate for "localhost", its own authority, and its key. It protects nothing."""


class Seen(asyncio.Protocol):
    """A protocol that remembers what it was told."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport: Any = None
        self.data = b""
        self.connected: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = loop.create_future()
        self.more = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.connected.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.more.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)

    async def read(self, count: int) -> bytes:
        """Wait until so many bytes have come."""
        while len(self.data) < count:
            self.more.clear()
            await self.more.wait()
        return self.data


class Echo(Seen):
    """Sends back what comes, and closes when the other side has finished."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected, non-blocking TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        with ours, listener.accept()[0] as peer:
            ours.setblocking(False)
            peer.setblocking(False)
            yield ours, peer


@contextlib.contextmanager
def listening(**options: Any) -> Iterator[socket.socket]:
    """A TCP socket that listens and is never asked."""
    with socket.create_server(("127.0.0.1", 0), **options) as listener:
        listener.setblocking(False)
        yield listener


@contextlib.asynccontextmanager
async def serving(loop: Any, factory: Callable[[], Any] = Echo, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """The address of a server on the loop."""
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


async def talk(transport: Any, protocol: Seen, text: bytes = b"hello") -> bytes:
    """Write to an echo, wait for it, close, and wait for the end."""
    transport.write(text)
    answer = await protocol.read(len(text))
    transport.close()
    await protocol.lost
    return answer


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory for a moment. Its path is short, because those of Unix sockets must be."""
    with tempfile.TemporaryDirectory(prefix="tepal-") as name:
        yield Path(name)


@contextlib.contextmanager
def regular_file(data: bytes = bytes(range(256)) * 1000) -> Iterator[Any]:
    """A file of 256,000 bytes, opened for reading."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


@functools.cache
def server_context() -> ssl.SSLContext:
    """A context that serves as "localhost"."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@functools.cache
def client_context() -> ssl.SSLContext:
    """A context that trusts that server, and looks at its name."""
    return ssl.create_default_context(cafile=CERTIFICATE)


@contextlib.contextmanager
def mute_tls_server() -> Iterator[tuple[str, int]]:
    """The address of a TLS server that shakes hands and then neither reads nor answers, until the block ends."""
    ended = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError), listener, listener.accept()[0] as taken:
            with server_context().wrap_socket(taken, server_side=True):
                ended.wait(10)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # Wakes who waits for a client that never came.
        thread.join(1)


def family_of(sock: Any) -> str:
    """The name of a socket's address family."""
    return socket.AddressFamily(sock.family).name


async def failure(function: Callable[..., Any], *args: Any, **keywords: Any) -> str:
    """The name of the exception that a call raises. That it raises none, is an answer too."""
    try:
        await function(*args, **keywords)
    except NotImplementedError:
        raise
    except Exception as error:  # noqa: BLE001  # its name is the answer
        return type(error).__name__
    return "no exception"
