"""Many rounds of everything that tasks and primitives do: the objects, and the memory, are then what they were before."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import tepal

ROUNDS = 3_000


async def nap(value: Any = None) -> Any:
    await tepal.sleep(0)
    return value


async def fail() -> None:
    await tepal.sleep(0)
    raise ValueError([object()])


async def tasks() -> None:
    await asyncio.gather(asyncio.create_task(nap(object())), nap(), return_exceptions=True)
    with contextlib.suppress(ValueError):
        await asyncio.create_task(fail())


async def cancelled() -> None:
    task = asyncio.create_task(tepal.sleep(3600))
    await tepal.sleep(0)
    task.cancel("why")
    with contextlib.suppress(asyncio.CancelledError):
        await task
    asyncio.create_task(nap()).cancel()
    await tepal.sleep(0)


async def together() -> None:
    await tepal.gather(nap(), fail(), nap(object()), return_exceptions=True)
    with contextlib.suppress(ValueError):
        await tepal.gather(nap(), fail())
    await tepal.wait([asyncio.create_task(nap())], timeout=10)
    await tepal.shield(nap())
    async for _ in tepal.as_completed([nap(), nap()], timeout=10):
        pass
    await tepal.sleep(0)


async def groups() -> None:
    async with tepal.TaskGroup() as group:
        group.create_task(nap(object()))
        group.create_task(nap())
    with contextlib.suppress(ExceptionGroup):
        async with tepal.TaskGroup() as group:
            group.create_task(fail())
            await tepal.sleep(3600)


async def timeouts() -> None:
    async with tepal.timeout(10):
        await nap()
    with contextlib.suppress(TimeoutError):
        async with tepal.timeout(0):
            await tepal.sleep(3600)
    await tepal.wait_for(nap(), 10)


async def primitives() -> None:
    lock, event, queue, semaphore = tepal.Lock(), tepal.Event(), tepal.Queue[Any](1), tepal.Semaphore(1)

    async def use() -> None:
        async with lock, semaphore:
            await queue.put(object())
            await queue.get()
            event.set()

    await tepal.gather(use(), use(), event.wait())
    condition = tepal.Condition()
    async with condition:
        condition.notify_all()
    getter = asyncio.create_task(queue.get())
    await tepal.sleep(0)
    getter.cancel()
    await tepal.wait([getter])


async def readers() -> None:
    reader = tepal.StreamReader()
    reader.feed_data(b"one\ntwo\n" + bytes(1000))
    await reader.readline()
    await reader.readuntil(b"o\n")
    waiting = asyncio.create_task(reader.readexactly(2000))
    await tepal.sleep(0)
    reader.feed_eof()
    with contextlib.suppress(asyncio.IncompleteReadError):
        await waiting
    assert len(reader._buffer) == 0


async def futures() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    future.add_done_callback(lambda _: None)
    loop.call_soon(future.set_result, object())
    await future
    failed = loop.create_future()
    failed.set_exception(ValueError())
    failed.exception()
    never = loop.create_future()
    never.add_done_callback(never.set_result)
    dropped = nap()
    dropped.close()


async def scopes() -> None:
    with tepal.move_on_after(0) as scope:
        await tepal.sleep(3600)
    assert scope.cancelled_caught
    with tepal.fail_after(10), tepal.shield():
        await nap()
    with tepal.CancelScope() as scope:
        scope.cancel("why")
        for _ in range(3):
            with contextlib.suppress(tepal.Cancelled):
                await nap()


async def nurseries() -> None:
    async with tepal.open_nursery(limit=1) as nursery:
        for _ in range(3):
            nursery.start_soon(nap, object())
    with contextlib.suppress(ExceptionGroup):
        async with tepal.open_nursery() as nursery:
            nursery.start_soon(fail)
            await tepal.sleep(3600)

    async def starts(*, task_status: Any) -> None:
        task_status.started()
        await tepal.sleep(3600)

    async with tepal.open_nursery() as nursery:
        await nursery.start(starts)
        nursery.cancel_scope.cancel()
    await tepal.race(nap, lambda: tepal.sleep(3600))


async def channels() -> None:
    sender, receiver = tepal.open_channel(0)
    async with tepal.open_nursery() as nursery:
        nursery.start_soon(sender.send, object())
        await receiver.receive()
        waiting = nursery.start_soon(receiver.receive)
        await tepal.sleep(0)
        waiting.cancel()
    sender.close()
    receiver.close()


async def supervisors() -> None:
    with contextlib.suppress(ExceptionGroup):
        async with tepal.open_supervisor() as sup:
            sup.create_task(nap())
            sup.call_later(3600, nap)
            sup.create_future()
            await sup.enter(contextlib.nullcontext())
            sup.call_soon(ValueError().__reduce__)
            sup.create_task(fail())
            await tepal.sleep(3600)


SCENES = [
    *(tasks, cancelled, together, groups, timeouts, primitives, readers, futures),
    *(scopes, nurseries, channels, supervisors),
]


def memory() -> int:
    """The most that the process has ever used, in KiB (getrusage(2))."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_stays(scene: Callable[[], Awaitable[None]]) -> None:
    async def rounds(count: int) -> None:
        for _ in range(count):
            await scene()

    async def main() -> None:
        await rounds(ROUNDS // 3)  # free lists and caches fill
        gc.collect()
        objects, most = len(gc.get_objects()), memory()
        blocks = sys.getallocatedblocks()
        await rounds(ROUNDS)
        gc.collect()
        # A reference that is lost once a round would be thousands.
        assert len(gc.get_objects()) - objects < 100
        assert sys.getallocatedblocks() - blocks < 1000
        assert memory() - most < 2048

    tepal.run(main())
