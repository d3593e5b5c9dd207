"""anyio's asyncio backend on tepal: cancel scopes, task groups, sockets, threads."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

import tepal

Main = Callable[[], Awaitable[Any]]


@pytest.fixture
def run() -> Callable[[Main], Any]:
    def run(main: Main) -> Any:
        return anyio.run(main, backend="asyncio", backend_options={"loop_factory": tepal.new_event_loop})

    return run


Run = Callable[[Main], Any]


def test_it_runs_on_tepal(run: Run) -> None:
    async def main() -> None:
        assert isinstance(asyncio.get_running_loop(), tepal.EventLoop)

    run(main)


def test_a_task_group_and_its_cancel_scope(run: Run) -> None:
    async def main() -> None:
        seen: list[int] = []

        async def child(number: int) -> None:
            try:
                await anyio.sleep(number)
            finally:
                seen.append(number)

        async with anyio.create_task_group() as group:
            for number in (0, 100, 200):
                group.start_soon(child, number)
            await anyio.sleep(0.002)
            group.cancel_scope.cancel()
        assert sorted(seen) == [0, 100, 200]

    run(main)


def test_errors_come_as_a_group(run: Run) -> None:
    async def main() -> None:
        async def fail() -> None:
            raise ValueError("mine")

        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(fail)
                group.start_soon(anyio.sleep_forever)
        assert caught.group_contains(ValueError, match="mine")

    run(main)


def test_deadlines_and_shields(run: Run) -> None:
    async def main() -> None:
        with anyio.move_on_after(0.002) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.002):
                await anyio.sleep_forever()
        with anyio.move_on_after(0.002):
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.005)
                shielded = True
            await anyio.sleep_forever()
        assert shielded

    run(main)


def test_cancellation_is_delivered_again_and_again(run: Run) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep(1)
            finally:
                for _ in range(3):
                    with pytest.raises(anyio.get_cancelled_exc_class()):
                        await anyio.sleep(1)
        assert scope.cancelled_caught

    run(main)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_sockets(run: Run, family: str, tmp_path: Path) -> None:
    async def main() -> None:
        async def echo(stream: Any) -> None:
            async with stream:
                async for data in stream:
                    await stream.send(data)

        if family == "tcp":
            listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
        else:
            listener = await anyio.create_unix_listener(tmp_path / "socket")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            if family == "tcp":
                client: Any = await anyio.connect_tcp("127.0.0.1", port)
            else:
                client = await anyio.connect_unix(tmp_path / "socket")
            async with client:
                await client.send(b"hello")
                assert await client.receive() == b"hello"
                payload, got = bytes(range(256)) * 4096, b""
                group.start_soon(client.send, payload)
                while len(got) < len(payload):
                    got += await client.receive()
                assert got == payload
                await client.send_eof()
                with pytest.raises(anyio.EndOfStream):
                    await client.receive()
            group.cancel_scope.cancel()

    run(main)


def test_threads_both_ways(run: Run) -> None:
    async def main() -> None:
        async def add(one: int, other: int) -> int:
            await anyio.lowlevel.checkpoint()
            return one + other

        def work(number: int) -> int:
            return anyio.from_thread.run(add, number, number)

        assert await anyio.to_thread.run_sync(work, 21) == 42
        with anyio.move_on_after(0.005) as scope:
            await anyio.to_thread.run_sync(time.sleep, 0.03, abandon_on_cancel=True)
        assert scope.cancelled_caught

    run(main)


def test_a_portal_from_outside() -> None:
    with anyio.from_thread.start_blocking_portal(
        backend="asyncio", backend_options={"loop_factory": tepal.new_event_loop}
    ) as portal:
        assert portal.call(anyio.sleep, 0.001) is None
        future = portal.start_task_soon(anyio.sleep_forever)
        future.cancel()


def test_memory_streams_locks_and_limiters(run: Run) -> None:
    async def main() -> None:
        send, receive = anyio.create_memory_object_stream[int](2)
        lock, limiter, seen = anyio.Lock(), anyio.CapacityLimiter(2), []

        async def produce() -> None:
            async with send:
                for number in range(100):
                    await send.send(number)

        async def consume(mine: anyio.abc.ObjectReceiveStream[int]) -> None:
            async with mine:
                async for number in mine:
                    async with limiter, lock:
                        seen.append(number)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            for _ in range(4):
                group.start_soon(consume, receive.clone())
            receive.close()
        assert sorted(seen) == list(range(100))

    run(main)


def test_waiting_for_a_socket(run: Run) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        with one, other:
            await anyio.wait_writable(one)
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.wait_readable, one)
                await anyio.lowlevel.checkpoint()
                other.send(b"x")
            with anyio.move_on_after(0.002) as scope:
                await anyio.wait_readable(other)
            assert scope.cancelled_caught

    run(main)
