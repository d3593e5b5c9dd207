"""Supervisors that own one of everything, in which something fails: nothing stays, and every error arrives once."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import sys
import warnings
from typing import Any

import pytest

import tepal

SUPERVISORS = 1_000


class Failure(Exception):
    """The one that is planted."""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


async def own_everything(sup: Any, rng: random.Random, with_process: bool) -> None:
    """Makes one of everything; one of it will fail, sooner or later."""
    culprit = rng.choice(["callback", "timer", "task", "reader", "protocol", "block", "late task"])

    def fail(name: str) -> None:
        if name == culprit:
            raise Failure(name)

    class Protocol(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            fail("protocol")

    async def task(name: str) -> None:
        await tepal.sleep(rng.choice([0, 0, 0.001]))
        fail(name)
        await asyncio.get_running_loop().create_future()

    server = await sup.create_server(Protocol, "127.0.0.1", 0)
    transport, _ = await sup.create_connection(Protocol, *server.sockets[0].getsockname())
    transport.write(b"x")
    receiver, sender = socket.socketpair()
    sup.call_later(1_000, receiver.close)
    try:
        receiver.setblocking(False)
        sender.send(b"x")
        sup.create_task(task("task"))
        sup.add_reader(receiver.fileno(), fail, "reader")
        sup.create_future()
        sup.call_soon(fail, "callback")
        sup.call_later(0.001, fail, "timer")
        sup.call_later(1_000, fail, "never")
        if with_process:
            await sup.subprocess_exec(asyncio.SubprocessProtocol, sys.executable, "-c", "import time; time.sleep(99)")
        async with sup.create_supervisor() as below:
            below.create_task(task("late task"))
            fail("block")
            await asyncio.get_running_loop().create_future()
    finally:
        sup.remove_reader(receiver.fileno())
        receiver.close()
        sender.close()


def leaves(error: BaseException) -> list[BaseException]:
    """All errors of a tree of groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]


@pytest.mark.slow(limit=300)
def test_a_thousand_supervisors_in_which_something_fails() -> None:
    rng = random.Random(1958)
    arrived = 0
    told: list[dict[str, Any]] = []

    async def one(number: int) -> None:
        nonlocal arrived
        try:
            async with tepal.open_supervisor() as sup:
                await own_everything(sup, rng, with_process=number % 50 == 0)
        except BaseExceptionGroup as group:
            errors = leaves(group)
            assert [type(error) for error in errors] == [Failure], group
            arrived += 1
        assert sup.statistics()[:2] == (0, 0)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        await one(0)
        gc.collect()
        before = descriptors()
        for start in range(1, SUPERVISORS, 20):
            async with tepal.open_nursery() as nursery:
                for number in range(start, min(start + 20, SUPERVISORS)):
                    nursery.start_soon(one, number)
        for _ in range(5):
            await tepal.sleep(0)
        gc.collect()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert loop._open_transports() == []
        assert descriptors() <= before

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tepal.run(main)
    assert arrived == SUPERVISORS
    assert told == []
