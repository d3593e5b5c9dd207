"""Connections used by chance: whatever is called in whatever order, the laws of a stream transport hold.

The laws: what is written arrives, whole and in order, as far as the peer reads and nobody aborts; what the peer sends
arrives likewise; no data while paused or after close; pause and resume of writing alternate; `connection_lost` comes once,
last, and not from inside a call; nothing reaches the exception handler. asyncio's own loop breaks some of them (it tells
of the end again after each pause, and stumbles over empty pieces in `writelines`), so this is no twin.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]
STEPS = 150


async def connect_pair(family: str, factory: Callable[[], Any]) -> tuple[Any, Any, socket.socket]:
    """A transport with its protocol and the raw socket at the other end, with little room in the kernel between them."""
    if family == "unix":
        ours, peer = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
    for sock in (ours, peer):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096 if family == "unix" else 65536)
    peer.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
    return transport, protocol, peer


class Law(asyncio.Protocol):
    """A protocol that complains as soon as a law is broken."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.made = self.eof = self.lost = self.paused = False
        self.inside = False
        self.transport: Any = None
        self.broken: list[str] = []
        self.ended = asyncio.Event()

    def check(self, fine: bool, law: str) -> None:
        if not fine:
            self.broken.append(law)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.check(not self.made, "made twice")
        self.made, self.transport = True, transport

    def data_received(self, data: bytes) -> None:
        self.check(bool(data), "empty data")
        self.check(type(data) is bytes, "data is not bytes")
        self.check(not self.eof, "data after eof")
        self.arrived(data)

    def arrived(self, data: bytes) -> None:
        self.check(self.made and not self.lost, "data outside the connection")
        self.check(self.transport.is_reading(), "data while paused or closing")
        self.check(not self.inside, "data from inside a call")
        self.data += data

    def eof_received(self) -> bool:
        self.check(not self.eof, "eof twice")
        self.check(self.transport.is_reading(), "eof while paused or closing")
        self.eof = True
        return True

    def pause_writing(self) -> None:
        self.check(not self.paused, "paused twice")
        self.check(self.transport.get_write_buffer_size() > self.transport.get_write_buffer_limits()[1], "paused early")
        self.paused = True

    def resume_writing(self) -> None:
        self.check(self.paused, "resumed without a pause")
        self.check(
            self.transport.get_write_buffer_size() <= self.transport.get_write_buffer_limits()[0], "resumed early"
        )
        self.paused = False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.check(not self.lost, "lost twice")
        self.check(not self.inside, "lost from inside a call")
        self.lost = True
        self.ended.set()


class BufferedLaw(Law, asyncio.BufferedProtocol):
    """The same, with a buffer that is small."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(1000)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.arrived(bytes(self.buffer[:nbytes]))


class Session:
    """What chance does with one connection, and what must have arrived at its end."""

    def __init__(self, seed: int, transport: Any, protocol: Law, peer: socket.socket) -> None:
        self.chance = random.Random(seed)
        self.transport, self.protocol, self.peer = transport, protocol, peer
        self.written, self.sent, self.read = bytearray(), bytearray(), bytearray()
        self.ended = self.aborted = self.shut = False

    def payload(self) -> bytes:
        return self.chance.randbytes(self.chance.choice((0, 1, 10, 1000, 20_000, 200_000)))

    def step(self) -> None:
        """One call on the transport, or one on the raw socket at the other end."""
        transport, chance = self.transport, self.chance
        self.protocol.inside = True
        match chance.randrange(14):
            case 0 | 1 | 2 if not self.ended:
                data = self.payload()
                transport.write(chance.choice((bytes, memoryview))(data))
                self.written += data
            case 3 if not self.ended:
                lines = [self.payload() for _ in range(chance.randrange(4))]
                transport.writelines(lines)
                self.written += b"".join(lines)
            case 4:
                transport.pause_reading()
            case 5 | 6:
                transport.resume_reading()
            case 7:
                high = chance.choice((0, 100, 65536, 10**6))
                if not self.protocol.paused:
                    transport.set_write_buffer_limits(high=high)
            case 8 | 9 if not self.shut:
                data = self.payload()
                try:
                    self.sent += data[: self.peer.send(data)]
                except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                    pass
            case 10 | 11 | 12:
                self.receive(chance.choice((1, 1000, 100_000)))
            case _:
                assert transport.get_write_buffer_size() >= 0
        self.protocol.inside = False

    def receive(self, count: int) -> bool:
        try:
            data = self.peer.recv(count)
        except (BlockingIOError, ConnectionResetError):
            return False
        self.read += data
        return bool(data)

    def end(self, how: str) -> None:
        self.protocol.inside = True
        if how == "write_eof":
            self.transport.write_eof()
            self.ended = True
        elif how == "close":
            self.transport.close()
            self.ended = True
        elif how == "abort":
            self.transport.abort()
            self.ended = self.aborted = True
        else:
            self.peer.shutdown(socket.SHUT_WR)
            self.shut = True
        self.protocol.inside = False


@pytest.mark.parametrize("how", ["close", "abort", "write_eof", "peer"])
@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("seed", range(20))
def test_the_laws_hold(run: Run, family: str, how: str, seed: int) -> None:
    async def main() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        factory = Law if seed % 2 else BufferedLaw
        transport, protocol, peer = await connect_pair(family, factory)
        session = Session(seed, transport, protocol, peer)
        with peer:
            for _ in range(STEPS):
                session.step()
                if session.chance.random() < 0.4:
                    await asyncio.sleep(0)
            session.end(how)
            for _ in range(STEPS // 3):
                session.step()
                await asyncio.sleep(0)
            await settle(session)
        assert protocol.broken == []
        assert told == []
        if how == "abort" or (how == "close" and family == "tcp"):
            # A TCP socket that is closed with bytes unread resets the connection, and the peer loses what it had not read.
            assert session.written.startswith(session.read)
        else:
            assert session.read == session.written
        assert session.sent.startswith(protocol.data)
        if how in ("peer", "write_eof"):
            assert protocol.data == session.sent

    run(main)


async def settle(session: Session) -> None:
    """Read all there is at both ends, end what is still open, and wait for the last word."""
    protocol, transport = session.protocol, session.transport
    for turn in range(100_000):
        session.receive(100_000)
        if not transport.is_closing():
            transport.resume_reading()
            done = len(session.read) == len(session.written) and len(protocol.data) == len(session.sent)
            if done:
                transport.close()
        if protocol.lost:
            break
        await asyncio.sleep(0 if turn % 100 else 0.001)
    assert protocol.lost, "the connection did not end"
    for _ in range(1000):
        if not session.receive(1 << 20):
            break
