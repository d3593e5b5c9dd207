"""What several twin files share: types, recording protocols, pairs of sockets, waiting without sleeping."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Run(Protocol):
    """The `run` fixture: run a coroutine function on a fresh loop, through `asyncio.Runner`."""

    def __call__(self, main: Callable[[], Coroutine[Any, Any, T]], *, debug: bool = False) -> T: ...


class Recorder(asyncio.Protocol):
    """A protocol that writes down what it is told, in order, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.data = bytearray()
        self.transport: Any = None
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.eof = asyncio.Event()
        self._more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.events.append("data")
        self._more.set()

    def eof_received(self) -> bool | None:
        self.events.append("eof")
        self.eof.set()
        return None

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append("lost")
        if not self.lost.done():
            self.lost.set_result(exc)
        self._more.set()

    async def received(self, count: int) -> bytes:
        """Wait until `count` bytes have come, or fail when the connection ends before that."""
        while len(self.data) < count:
            assert not self.lost.done(), f"lost after {len(self.data)} of {count} bytes"
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 5)
        return bytes(self.data)


class BufferedRecorder(asyncio.BufferedProtocol):
    """The same for `BufferedProtocol`, over one buffer of a chosen size."""

    def __init__(self, size: int = 4096) -> None:
        self.buffer = bytearray(size)
        self.hints: list[int] = []
        self.data = bytearray()
        self.events: list[str] = []
        self.transport: Any = None
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append("made")

    def get_buffer(self, sizehint: int) -> bytearray:
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]
        self.events.append("updated")
        self._more.set()

    def eof_received(self) -> bool | None:
        self.events.append("eof")
        return None

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append("lost")
        self.lost.set_result(exc)
        self._more.set()

    async def received(self, count: int) -> bytes:
        """Wait until `count` bytes have come."""
        while len(self.data) < count:
            assert not self.lost.done(), f"lost after {len(self.data)} of {count} bytes"
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 5)
        return bytes(self.data)


class Datagrams(asyncio.DatagramProtocol):
    """A datagram protocol that writes down what it is told, in order, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received: list[bytes] = []
        self.senders: list[Any] = []
        self.errors: list[Exception] = []
        self.transport: Any = None
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._happened("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append(data)
        self.senders.append(addr)
        self._happened("datagram")

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self._happened("error")

    def pause_writing(self) -> None:
        self._happened("pause")

    def resume_writing(self) -> None:
        self._happened("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)  # a second time is an error
        self._happened("lost")

    def _happened(self, event: str) -> None:
        self.events.append(event)
        self._more.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition()` holds; it is asked whenever something has happened."""
        while not condition():
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 5)

    async def datagrams(self, count: int) -> list[bytes]:
        """Wait until `count` datagrams have come."""
        await self.until(lambda: len(self.received) >= count)
        return self.received

    async def ended(self) -> BaseException | None:
        """Wait for `connection_lost`; what it was told."""
        return await asyncio.wait_for(self.lost, 5)


def udp_socket(host: str = "127.0.0.1") -> socket.socket:
    """A bound UDP socket that blocks for at most five seconds."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(5)
    return sock


def socket_pair(family: str) -> tuple[socket.socket, socket.socket]:
    """Two connected stream sockets, the first one non-blocking; `family` is "tcp" or "unix"."""
    if family == "unix":
        ours, peer = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
    ours.setblocking(False)
    peer.settimeout(5)
    return ours, peer


async def connect_pair(
    family: str, factory: Callable[[], Any] = Recorder
) -> tuple[asyncio.Transport, Any, socket.socket]:
    """A transport with its protocol, and the raw blocking socket at the other end."""
    ours, peer = socket_pair(family)
    loop = asyncio.get_running_loop()
    if family == "unix":
        transport, protocol = await loop.create_unix_connection(factory, sock=ours)
    else:
        transport, protocol = await loop.create_connection(factory, sock=ours)
    return transport, protocol, peer


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that the other side sees RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def small_buffers(*socks: socket.socket) -> None:
    """Make the kernel's buffers so small that a megabyte does not fit, unless somebody reads."""
    for sock in socks:
        if sock.family == socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        else:  # TCP with a tiny window waits for its timers at every turn, so only the sender's side shrinks
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)


async def turns(count: int = 5) -> None:
    """Let the loop turn `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def eventually(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Wait until `condition()` holds; for facts that come from the kernel and wake nobody."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.001)


async def receive_exactly(peer: socket.socket, count: int) -> bytes:
    """Read `count` bytes from a blocking socket in a thread, so that the loop can go on writing."""

    def read() -> bytes:
        chunks = bytearray()
        while len(chunks) < count:
            chunk = peer.recv(count - len(chunks))
            if not chunk:
                break
            chunks += chunk
        return bytes(chunks)

    return await asyncio.to_thread(read)


async def receive_in_turns(peer: socket.socket, count: int) -> bytes:
    """Read `count` bytes in the loop's own thread, so that the peer reads nothing while the loop writes."""
    chunks = bytearray()
    peer.setblocking(False)
    while len(chunks) < count:
        await asyncio.sleep(0)
        try:
            chunk = peer.recv(min(count - len(chunks), 65536))
        except BlockingIOError:
            continue
        if not chunk:
            break
        chunks += chunk
    peer.settimeout(5)
    return bytes(chunks)
