"""Loops in several threads at once: each its own, none sees another's."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import tepal

Together = Callable[..., None]


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def work(rounds: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    for number in range(rounds):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(number.to_bytes(4, "big") * 100)
        assert await reader.readexactly(400) == number.to_bytes(4, "big") * 100
        writer.close()
        await writer.wait_closed()
        assert await asyncio.to_thread(threading.get_ident) != threading.get_ident()
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0.0001)
    server.close()


def test_servers_and_clients_in_six_threads(together: Together) -> None:
    before = len(os.listdir("/proc/self/fd"))
    loops: set[int] = set()

    def one() -> None:
        with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
            loops.add(id(runner.get_loop()))
            runner.run(work(30))

    together(*[one] * 6)
    assert len(os.listdir("/proc/self/fd")) == before


def test_loops_are_made_and_closed_at_once_in_many_threads(together: Together) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def one() -> None:
        for _ in range(50):
            loop = tepal.new_event_loop()
            loop.call_later(1000, print)
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    together(*[one] * 6)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_running_loop_is_a_threads_own(together: Together) -> None:
    seen: list[tuple[object, object]] = []

    def one() -> None:
        async def main() -> None:
            for _ in range(100):
                await asyncio.sleep(0)
                assert asyncio.get_running_loop() is runner.get_loop()

        with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
            runner.run(main())
            seen.append((runner, runner.get_loop()))

    together(*[one] * 4)
    assert len({id(loop) for _, loop in seen}) == 4


def test_a_connection_between_two_loops(together: Together) -> None:
    one, other = socket.socketpair()
    payload = bytes(range(256)) * 4096

    def send() -> None:
        async def main() -> None:
            _, writer = await asyncio.open_connection(sock=one)
            writer.write(payload)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
            runner.run(main())

    def receive() -> None:
        async def main() -> None:
            reader, writer = await asyncio.open_connection(sock=other)
            assert await reader.read() == payload
            writer.close()
            await writer.wait_closed()

        with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
            runner.run(main())

    together(send, receive)


def test_a_loop_may_move_between_threads(together: Together) -> None:
    loop = tepal.new_event_loop()
    seen: list[int] = []

    def turn() -> None:
        loop.call_soon(lambda: seen.append(threading.get_ident()))
        loop.call_soon(loop.stop)
        loop.run_forever()

    for _ in range(3):
        together(turn)
    turn()
    assert seen[-1] == threading.get_ident()
    assert len(seen) == 4
    loop.close()
