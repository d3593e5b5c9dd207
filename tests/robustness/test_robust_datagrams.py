"""Endpoints by the thousand, storms of datagrams, and receivers that never read: memory and descriptors stay as they were."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]
Python = Callable[..., Any]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """The resident memory of this process, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Counting(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self.count = 0
        self.more = asyncio.Event()
        self.paused = self.resumed = 0
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        self.more.set()

    async def heard(self, count: int) -> None:
        """Wait until so many datagrams have come."""
        while self.count < count:
            self.more.clear()
            await self.more.wait()

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


class Echo(Counting):
    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


@pytest.mark.slow(limit=120)
def test_ten_thousand_endpoints_in_a_row_leave_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, serving = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")

        async def endpoints(count: int) -> None:
            for number in range(count):
                transport, protocol = await loop.create_datagram_endpoint(Counting, remote_addr=address)
                transport.sendto(b"x" * 100)
                if number % 2:
                    await protocol.heard(1)
                    transport.close()
                else:
                    transport.abort()
                await protocol.lost

        await endpoints(1000)  # whatever is made once is made by now
        gc.collect()
        open_before, memory_before = descriptors(), resident()
        await endpoints(10_000)
        gc.collect()
        assert descriptors() == open_before
        assert resident() - memory_before < 4 << 20
        server.close()
        await serving.lost

    run(main)


def test_many_peers_leave_no_memory(run: Run) -> None:
    """What an endpoint remembers of its peers is bounded."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, serving = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")

        async def peers(count: int) -> None:
            for _ in range(count):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                    heard = serving.count
                    peer.sendto(b"x", address)
                    await serving.heard(heard + 1)

        await peers(1000)
        before = resident()
        await peers(10_000)
        assert resident() - before < 1 << 20
        server.close()
        await serving.lost

    run(main)


def test_a_storm_while_writing_is_paused(run: Run) -> None:
    """A peer that sends and never reads: its datagrams are still read, and the buffer is what the protocol let it be."""

    class Obedient(Counting):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if self.paused == self.resumed:
                self.transport.sendto(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (ours, peer):
            sock.bind("")  # an abstract name of the kernel's choice
        ours.connect(peer.getsockname())
        peer.connect(ours.getsockname())
        peer.setblocking(False)
        transport, protocol = await loop.create_datagram_endpoint(Obedient, sock=ours)
        transport.set_write_buffer_limits(high=10_000)
        sent = 0

        async def storm(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                try:
                    peer.send(bytes(500))
                    sent += 1
                except BlockingIOError:
                    await asyncio.sleep(0)

        await storm(1000)
        before = resident()
        await storm(20_000)
        await protocol.heard(sent)
        assert protocol.paused == 1
        assert protocol.resumed == 0
        assert 10_000 < transport.get_write_buffer_size() < 11_000
        assert resident() - before < 1 << 20
        while not protocol.resumed:
            try:
                peer.recv(1000)
            except BlockingIOError:
                await asyncio.sleep(0)
        peer.close()
        transport.abort()
        assert await protocol.lost is None

    run(main)


def test_other_endpoints_are_served_in_a_storm(run: Run) -> None:
    class Endless(Counting):
        """Whatever it hears, it says to itself."""

        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.sendto(data, addr)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        busy, storming = await loop.create_datagram_endpoint(Endless, local_addr=("127.0.0.1", 0))
        for _ in range(100):
            busy.sendto(b"x", busy.get_extra_info("sockname"))
        calm, calming = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        client, asking = await loop.create_datagram_endpoint(Counting, remote_addr=calm.get_extra_info("sockname"))
        for number in range(1, 51):
            client.sendto(b"x")
            before = storming.count
            while asking.count < number:
                await asyncio.sleep(0)
                assert storming.count - before < 2000
        for transport in (busy, calm, client):
            transport.abort()
        for protocol in (storming, calming, asking):
            await protocol.lost

    run(main)


REFUSED = """
import asyncio, socket, tepal


class Told(asyncio.DatagramProtocol):
    errors = 0

    def error_received(self, exc):
        assert type(exc) is ConnectionRefusedError, exc
        Told.errors += 1


async def main():
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    transport, _ = await loop.create_datagram_endpoint(Told, remote_addr=address)
    for _ in range(1000):
        transport.sendto(b"x")
    for _ in range(10):
        await asyncio.sleep(0)
    assert Told.errors > 0
    assert not transport.is_closing()
    transport.close()
    await asyncio.sleep(0)


tepal.run(main())
print("survived")
"""


def test_a_thousand_refusals(python: Python) -> None:
    done = python("-X", "dev", "-W", "error", "-c", REFUSED)
    assert done.stdout.strip() == "survived", done.stderr
    assert done.stderr == ""


AT_EXIT = """
import asyncio, socket, sys, tepal


class Keeping(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport


async def main():
    loop = asyncio.get_running_loop()
    full = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    full.bind("")
    open_ones.append(full)
    for arguments in ({"local_addr": ("127.0.0.1", 0)}, {"family": socket.AF_UNIX}):
        transport, protocol = await loop.create_datagram_endpoint(Keeping, **arguments)
        open_ones.append(protocol)
    while transport.get_write_buffer_size() < 1000:
        transport.sendto(bytes(100), full.getsockname())
    open_ones[1].transport.sendto(b"x", open_ones[1].transport.get_extra_info("sockname"))


open_ones = []
loop = tepal.new_event_loop()
loop.run_until_complete(main())
if sys.argv[1] == "closed":
    loop.close()
print("ended")
"""


@pytest.mark.parametrize("how", ["open", "closed"])
def test_the_interpreter_exits_with_endpoints_open(python: Python, how: str) -> None:
    done = python("-W", "ignore", "-c", AT_EXIT, how)
    assert (done.stdout.strip(), done.returncode) == ("ended", 0), done.stderr
    assert done.stderr == ""
