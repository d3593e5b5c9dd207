"""Thousands of connections leave descriptors and memory as they were, and running out of descriptors is survived."""

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


class Echo(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.mark.slow(limit=120)
def test_ten_thousand_connections_in_a_row_leave_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        async def connections(count: int) -> None:
            for _ in range(count):
                with socket.create_connection(address) as client:
                    client.setblocking(False)
                    await loop.sock_sendall(client, b"x" * 100)
                    assert await loop.sock_recv(client, 100) == b"x" * 100

        async with server:
            await connections(1000)  # whatever is made once is made by now
            await asyncio.sleep(0.01)
            gc.collect()
            open_before, memory_before = descriptors(), resident()
            await connections(10_000)
            await asyncio.sleep(0.01)
            gc.collect()
            assert descriptors() == open_before
            assert resident() - memory_before < 4 << 20

    run(main)


@pytest.mark.slow(limit=120)
def test_thousands_of_connections_made_by_the_loop_leave_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        async def connections(count: int) -> None:
            for _ in range(count):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"x")
                await reader.readexactly(1)
                writer.close()
                await writer.wait_closed()

        async with server:
            await connections(300)
            await asyncio.sleep(0.01)
            gc.collect()
            open_before, memory_before = descriptors(), resident()
            await connections(3000)
            await asyncio.sleep(0.01)
            gc.collect()
            assert descriptors() == open_before
            assert resident() - memory_before < 4 << 20

    run(main)


def test_many_timers_leave_no_memory(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def timers(count: int) -> None:
            for _ in range(count // 1000):
                for handle in [loop.call_later(3600, print) for _ in range(1000)]:
                    handle.cancel()
                await asyncio.sleep(0)

        await timers(20_000)
        before = resident()
        await timers(200_000)
        assert resident() - before < 8 << 20

    run(main)


EMFILE = """
import asyncio, logging, resource, socket, sys
import tepal

logging.disable(logging.CRITICAL)


async def main():
    loop = asyncio.get_running_loop()
    told = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients = [socket.socket() for _ in range(20)]
    for client in clients:
        client.setblocking(False)
        await loop.sock_connect(client, address)
    await asyncio.sleep(0.05)
    assert len(served) == 20, len(served)

    # Leave room for the clients' ends alone: the kernel accepts them, the server cannot.
    more = [socket.socket() for _ in range(10)]
    soft = max(sock.fileno() for sock in more) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for client in more:
        client.setblocking(False)
        await loop.sock_connect(client, address)
    turns_before, cpu = turns, resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.sleep(0.3)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    assert len(served) < 30, "the limit was not in the way"
    assert told, "nobody was told"
    assert "accept" in told[0]["message"], told[0]["message"]
    assert isinstance(told[0]["exception"], OSError), told[0]
    assert len(told) < 5, f"told {len(told)} times"
    assert spent.ru_utime + spent.ru_stime - cpu.ru_utime - cpu.ru_stime < 0.2, "the loop span"

    # The connections that stand are served meanwhile.
    await loop.sock_sendall(clients[0], b"still here")
    assert await asyncio.wait_for(loop.sock_recv(clients[0], 100), 5) == b"still here"

    for client in clients:
        client.close()
    for client in more:
        await loop.sock_sendall(client, b"at last")
        assert await asyncio.wait_for(loop.sock_recv(client, 100), 10) == b"at last"
        client.close()
    server.close()
    print("recovered")


served = []
turns = 0


async def echo(reader, writer):
    served.append(1)
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


asyncio.Runner(loop_factory=FACTORY).run(main())
"""


@pytest.mark.slow(limit=60)
def test_out_of_descriptors_at_accept_backs_off_and_recovers(python: Python) -> None:
    done = python("-W", "ignore", "-c", EMFILE.replace("FACTORY", "tepal.new_event_loop"))
    assert done.stdout.strip() == "recovered", done.stderr


CLOSED_MEANWHILE = """
import asyncio, resource, socket, tepal


async def main():
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    loop.set_exception_handler(lambda *_: told.set())
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    client = socket.socket()
    client.setblocking(False)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
    await loop.sock_connect(client, server.sockets[0].getsockname())
    await told.wait()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5)
    # The number of the listening socket belongs to somebody else now, when the pause is over.
    others = [socket.socketpair() for _ in range(5)]
    await asyncio.sleep(1.2)
    client.close()
    for pair in others:
        for sock in pair:
            sock.close()
    print("closed")


with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
    runner.run(main())
"""


@pytest.mark.slow(limit=60)
def test_a_server_closed_while_it_is_out_of_descriptors(python: Python) -> None:
    done = python("-W", "error", "-c", CLOSED_MEANWHILE)
    assert done.stdout.strip() == "closed", done.stderr
    assert done.stderr == ""


def test_out_of_descriptors_when_a_loop_is_made(python: Python) -> None:
    script = """
import resource, socket, tepal
kept = []
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for spare in range(8):
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (50, hard))
    try:
        while True:
            held.append(socket.socket())
    except OSError:
        pass
    for _ in range(spare):
        held.pop().close()
    try:
        tepal.new_event_loop().close()
        kept.append("made")
    except OSError as error:
        kept.append(error.errno)
    for sock in held:
        sock.close()
print(kept[0], kept[-1])
"""
    done = python("-W", "error", "-c", script)
    assert done.stdout.split() == ["24", "made"], done.stdout + done.stderr
    assert done.stderr == ""
