"""What the TLS files share: contexts for either engine, two ends on one loop, and a peer that is driven by hand.

tepal picks one of two engines by itself and has no switch for it. What it takes over directly is an ordinary context; a
context whose `sslobject_class` is a class of the program's own is served through Python (bio). Both are valid on asyncio,
so every test runs on asyncio twice.
"""

from __future__ import annotations

import _ssl
import asyncio
import contextlib
import socket
import ssl
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from .support import LoopFactory, Recorder, small_buffers, socket_pair
from .versions import is_asyncio

T = TypeVar("T")

CERTIFICATES = Path(__file__).resolve().parents[2] / "tests" / "certificates"
AUTHORITY = CERTIFICATES / "authority.pem"

TLS12 = ssl.TLSVersion.TLSv1_2
TLS13 = ssl.TLSVersion.TLSv1_3

FAMILIES = pytest.mark.parametrize("family", ["tcp", "unix"])
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["tls12", "tls13"])
SIDES = pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])


class OwnObject(ssl.SSLObject):
    """A session class of the program's own; nothing may pass beside it."""


@dataclass(frozen=True)
class Contexts:
    """Contexts that lead to one engine."""

    engine: str

    def server(self, certificate: str = "server", *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A server's context with one of the test certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
        return self._finished(context, version)

    def client(self, certificate: str | None = None, *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A client's context that trusts the tests' authority, with a certificate of its own when one is named."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(AUTHORITY)
        if certificate is not None:
            context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
        return self._finished(context, version)

    def of(self, server_side: bool, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """The context of one side."""
        return self.server(version=version) if server_side else self.client(version=version)

    def _finished(self, context: ssl.SSLContext, version: ssl.TLSVersion | None) -> ssl.SSLContext:
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if self.engine == "bio":
            context.sslobject_class = OwnObject
        return context


def default_engine() -> str:
    """What an ordinary context leads to on this interpreter."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "bio"  # a session has a lock there, which only the ssl module can take
    shared = hasattr(_ssl, "__file__") and "libssl" in Path("/proc/self/maps").read_text()
    return "direct" if shared and ssl.OPENSSL_VERSION.startswith("OpenSSL") else "bio"


def expected_engine(loop_factory: LoopFactory, tls: Contexts) -> str | None:
    """What ``get_extra_info("tls_engine")`` answers for a connection of these contexts."""
    if is_asyncio(loop_factory):
        return None
    return default_engine() if tls.engine == "direct" else "bio"


async def tls_pair(
    tls: Contexts,
    factory: Callable[[], Any] = Recorder,
    server_factory: Callable[[], Any] = Recorder,
    *,
    family: str = "tcp",
    client: ssl.SSLContext | None = None,
    server: ssl.SSLContext | None = None,
    **limits: float,
) -> tuple[Any, Any]:
    """Two protocols on this loop, connected over TLS: the client's and the server's."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket_pair(family)
    theirs.setblocking(False)
    accepting = asyncio.create_task(
        loop.connect_accepted_socket(server_factory, theirs, ssl=server or tls.server(), **limits)
    )
    _, made = await loop.create_connection(
        factory, sock=ours, ssl=client or tls.client(), server_hostname="localhost", **limits
    )
    _, accepted = await accepting
    return made, accepted


async def close_both(*protocols: Any) -> None:
    """Close the connections and wait until their protocols know."""
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await protocol.lost


class RawPeer:
    """The other end of a connection, by hand: it says what a test wants, when the test wants it."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side, server_hostname=name)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    async def do(self, act: Callable[[], T]) -> T:
        """Act, and exchange bytes as long as the session asks for them. The stream's end is an EOFError."""
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                await self.flush()
                await self._feed()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self.flush()  # the alert
                raise
            else:
                await self.flush()
                return result

    async def _feed(self) -> None:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 1 << 16), 5)
        if not data:
            raise EOFError
        self.incoming.write(data)

    async def flush(self) -> None:
        """Send the records that stand ready."""
        if data := self.outgoing.read():
            await self.send_raw(data)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def handshake(self) -> None:
        """Shake hands."""
        await self.do(self.tls.do_handshake)

    def records(self, data: bytes) -> bytes:
        """What `data` is on the wire."""
        self.tls.write(data)
        return self.outgoing.read()

    def goodbye(self) -> bytes:
        """What a close_notify is on the wire."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    async def send(self, data: bytes) -> None:
        """Send data, encrypted."""
        await self.send_raw(self.records(data))

    async def receive(self, count: int) -> bytes:
        """Receive exactly so many bytes of data."""
        data = b""
        while len(data) < count:
            missing = count - len(data)
            chunk = await self.do(lambda missing=missing: self.tls.read(missing))  # type: ignore[misc]
            assert chunk, f"a goodbye after {len(data)} of {count} bytes"
            data += chunk
        return data

    async def receive_goodbye(self) -> None:
        """Expect the other side's close_notify, and nothing before it."""
        with contextlib.suppress(ssl.SSLZeroReturnError):
            assert await self.do(lambda: self.tls.read(1)) == b""

    async def raw_end(self) -> bytes:
        """Read the stream to its end; what came, undeciphered. A reset is an end too."""
        data = b""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionResetError):
            while chunk := await asyncio.wait_for(loop.sock_recv(self.sock, 1 << 16), 5):
                data += chunk
        return data


async def facing(
    tls: Contexts,
    factory: Callable[[], Any] = Recorder,
    *,
    server_side: bool = False,
    family: str = "tcp",
    version: ssl.TLSVersion | None = None,
    small: bool = False,
    **limits: float,
) -> tuple[Any, RawPeer]:
    """A protocol on this loop, as client or server, whose peer is driven by hand; after the handshake."""
    ours, theirs = socket_pair(family)
    if small:
        small_buffers(ours, theirs)
    peer = RawPeer(theirs, Contexts("direct").of(not server_side, version), server_side=not server_side)
    shaking = asyncio.create_task(peer.handshake())
    _, protocol = await over(tls.of(server_side, version), factory, ours, server_side=server_side, **limits)
    await shaking
    if server_side:
        # The client's last words of the handshake may still be on their way, and what they bring with them.
        await peer.flush()
    return protocol, peer


async def over(
    context: ssl.SSLContext, factory: Callable[[], Any], sock: socket.socket, *, server_side: bool, **limits: Any
) -> tuple[Any, Any]:
    """Transport and protocol over a connected socket, as client or server."""
    loop = asyncio.get_running_loop()
    if server_side:
        return await loop.connect_accepted_socket(factory, sock, ssl=context, **limits)
    return await loop.create_connection(factory, sock=sock, ssl=context, server_hostname="localhost", **limits)


def collect_reports() -> list[dict[str, Any]]:
    """Take over the running loop's exception handler; the list of what it is told."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.append(context))
    return reports


def payload(size: int) -> bytes:
    """Bytes that show when some are missing or out of order."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


def patterns(sizes: Iterable[int]) -> list[bytes]:
    """A payload of each size."""
    return [payload(size) for size in sizes]
