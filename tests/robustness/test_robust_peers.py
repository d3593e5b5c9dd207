"""Peers that misbehave: that never read, that reset, that vanish; the server keeps its memory and its other clients."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Source(asyncio.Protocol):
    """Sends without end, as long as it is not told to pause: what a careful producer does."""

    def __init__(self) -> None:
        self.paused = False
        self.sent = 0
        self.pauses = 0
        self.full = asyncio.Event()
        self.made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.made.set_result(None)
        self.pour()

    def pour(self) -> None:
        while not self.paused and not self.transport.is_closing():
            self.transport.write(bytes(65536))
            self.sent += 65536

    def pause_writing(self) -> None:
        self.paused = True
        self.pauses += 1
        self.full.set()

    def resume_writing(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self.pour)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


async def served(factory: Callable[[], Any]) -> tuple[asyncio.Server, Any, socket.socket]:
    made: list[Any] = []

    def make() -> Any:
        made.append(factory())
        return made[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    client.setblocking(False)
    for _ in range(1000):
        if made:
            break
        await asyncio.sleep(0.001)
    await made[0].made
    return server, made[0], client


def test_a_peer_that_never_reads_costs_what_the_limits_say(run: Run) -> None:
    async def main() -> None:
        server, source, client = await served(Source)
        before, last = resident(), -1
        while source.sent != last:
            last = source.sent
            await asyncio.sleep(0.01)
        assert source.paused
        assert source.transport.get_write_buffer_size() <= 65536 * 2
        assert resident() - before < 4 << 20
        source.transport.abort()
        assert await asyncio.wait_for(source.lost, 5) is None
        client.close()
        server.close()

    run(main)


def test_a_peer_that_begins_to_read_again_gets_going(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, source, client = await served(Source)
        last = -1
        while source.sent != last:
            last = source.sent
            await asyncio.sleep(0.01)
        got = 0
        while got < last + (4 << 20):
            got += len(await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 5))
        assert source.pauses > 1
        reset(client)
        assert isinstance(await source.lost, (ConnectionResetError, BrokenPipeError))
        server.close()

    run(main)


def test_close_waits_for_a_peer_that_never_reads_and_abort_does_not(run: Run) -> None:
    async def main() -> None:
        server, source, client = await served(Source)
        await source.full.wait()
        source.transport.close()
        await asyncio.sleep(0.01)
        assert not source.lost.done()
        source.transport.abort()
        assert await asyncio.wait_for(source.lost, 5) is None
        client.close()
        server.close()

    run(main)


def test_a_reset_while_paused_is_noticed_when_writing(run: Run) -> None:
    async def main() -> None:
        server, source, client = await served(Source)
        await source.full.wait()
        reset(client)
        assert isinstance(await asyncio.wait_for(source.lost, 5), (ConnectionResetError, BrokenPipeError))
        assert source.transport.get_write_buffer_size() == 0
        server.close()

    run(main)


def test_resets_before_accept_do_not_hurt_the_server(run: Run) -> None:
    async def main() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(100):
                    writer.write(data)
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        async with server:
            for _ in range(20):
                for _ in range(10):
                    reset(socket.create_connection(address))
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                writer.close()
                await writer.wait_closed()
        for _ in range(1000):
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0.001)

    run(main)


@pytest.mark.parametrize("how", ["half close", "close", "reset"])
def test_a_peer_that_ends_in_the_middle(run: Run, how: str) -> None:
    async def main() -> None:
        outcomes: asyncio.Queue[object] = asyncio.Queue()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readexactly(100)
            except (asyncio.IncompleteReadError, ConnectionResetError) as error:
                outcomes.put_nowait(error)
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            client = socket.create_connection(server.sockets[0].getsockname())
            client.send(b"only ten b")
            await asyncio.sleep(0.002)
            if how == "reset":
                reset(client)
            elif how == "close":
                client.close()
            else:
                client.shutdown(socket.SHUT_WR)
            outcome = await asyncio.wait_for(outcomes.get(), 5)
            if how == "reset":
                assert isinstance(outcome, ConnectionResetError)
            else:
                assert isinstance(outcome, asyncio.IncompleteReadError)
                assert outcome.partial == b"only ten b"
            client.close()

    run(main)


def test_one_noisy_peer_does_not_starve_the_others(run: Run) -> None:
    # One connection sends without end; another's question and a timer are answered all the same.
    async def main() -> None:
        loop = asyncio.get_running_loop()

        class Sink(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport: Any = transport

            def data_received(self, data: bytes) -> None:
                if data == b"ping":
                    self.transport.write(b"pong")

        server = await loop.create_server(Sink, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        noisy, quiet = socket.create_connection(address), socket.create_connection(address)
        for sock in (noisy, quiet):
            sock.setblocking(False)
        with noisy, quiet:

            async def flood() -> None:
                payload = bytes(1 << 20)
                while True:
                    await loop.sock_sendall(noisy, payload)

            flooding = asyncio.create_task(flood())
            for _ in range(20):
                await loop.sock_sendall(quiet, b"ping")
                assert await asyncio.wait_for(loop.sock_recv(quiet, 10), 5) == b"pong"
                await asyncio.wait_for(asyncio.sleep(0.0001), 5)
            flooding.cancel()
            await asyncio.wait([flooding])
        server.close()

    run(main)
