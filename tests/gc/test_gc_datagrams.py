"""Datagram transports and their protocols: always a cycle, and often more."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest

Collected = Callable[..., None]
Refs = tuple["weakref.ref[Any]", ...]


class Keeping(asyncio.DatagramProtocol):
    """A protocol that keeps its transport and what it hears, as nearly all do."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.lost = asyncio.Event()
        self.heard: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: list[Exception] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set()


async def endpoint(factory: Callable[[], Any] = Keeping, **arguments: Any) -> tuple[Any, Any]:
    loop = asyncio.get_running_loop()
    if not arguments:
        arguments = {"local_addr": ("127.0.0.1", 0)}
    return await loop.create_datagram_endpoint(factory, **arguments)


def refs(*things: Any) -> Refs:
    return tuple(weakref.ref(thing) for thing in things)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_closed_endpoint(loop: asyncio.AbstractEventLoop, assert_collected: Collected, how: str) -> None:
    async def main() -> Refs:
        transport, protocol = await endpoint()
        getattr(transport, how)()
        await protocol.lost.wait()
        return refs(transport, protocol)

    assert_collected(*loop.run_until_complete(main()))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_an_endpoint_that_has_heard_from_many(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected, family: int
) -> None:
    async def main() -> Refs:
        local = ("127.0.0.1", 0) if family == socket.AF_INET else f"\0tepal-gc-{os.getpid()}"
        transport, protocol = await endpoint(local_addr=local, family=family)
        for number in range(80):
            with socket.socket(family, socket.SOCK_DGRAM) as peer:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                await protocol.heard.get()
            if number == 40:
                gc.collect()
        transport.close()
        await protocol.lost.wait()
        return refs(transport, protocol)

    assert_collected(*loop.run_until_complete(main()))


def test_an_endpoint_with_datagrams_that_were_never_sent(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected
) -> None:
    class Host(str):
        """An address that is left to the socket module, and so kept as it is."""

        myself: Any

    async def main() -> Refs:
        name = f"\0tepal-gc-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
            full.bind(name)
            transport, protocol = await endpoint(family=socket.AF_UNIX)
            address = Host(name)
            address.myself = (address, transport)
            while transport.get_write_buffer_size() < 1000:
                transport.sendto(b"x" * 100, address)
            found = refs(transport, protocol, address)
            protocol.transport = None
            transport.pause_reading()
            # Nobody holds it now but the loop, which waits for the kernel to have room.
            del transport, address
            gc.collect()
            assert found[0]() is not None
            found[0]().abort()
            await protocol.lost.wait()
        return found

    assert_collected(*loop.run_until_complete(main()))


def test_an_open_endpoint_of_a_closed_loop_warns_and_closes(assert_collected: Collected) -> None:
    import tepal

    before = len(os.listdir("/proc/self/fd"))

    async def main() -> Refs:
        return refs(*await endpoint())

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
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_paused_endpoint_that_is_dropped(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> Refs:
        transport, protocol = await endpoint()
        transport.myself = transport
        transport.pause_reading()
        return refs(transport, protocol)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = loop.run_until_complete(main())
        gc.collect()
    assert any("unclosed transport" in str(warning.message) for warning in seen)
    seen.clear()
    assert_collected(*found)


def test_a_failing_protocol_leaves_no_cycle_behind(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected
) -> None:
    class Failing(Keeping):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            raise ValueError

    async def main() -> Refs:
        loop.set_exception_handler(lambda _loop, _context: None)
        transport, protocol = await endpoint(Failing)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            await protocol.heard.get()
        transport.sendto(b"x", None)  # makes no sense, and ends it
        await protocol.lost.wait()
        return refs(transport, protocol)

    assert_collected(*loop.run_until_complete(main()))


def test_an_endpoint_that_could_not_be_made(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    class Factory:
        def __call__(self) -> Any:
            raise ValueError

    async def main() -> Refs:
        factory = Factory()
        found = refs(factory)
        with pytest.raises(ValueError):
            await endpoint(factory)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(OSError):
                await endpoint(factory, local_addr=taken.getsockname())
        return found

    assert_collected(*loop.run_until_complete(main()))
