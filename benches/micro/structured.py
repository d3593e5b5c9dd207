"""Structured concurrency: tepal's own constructs, and what their users have on the other loops: asyncio's, anyio's, Trio's."""

from __future__ import annotations

import asyncio
from typing import Any

from benches.micro._case import Cases, Stopwatch

structured = Cases("structured")

#: How many children are made at a time.
BATCH = 100


async def nothing() -> None:
    """A child with nothing to do."""


def _here() -> str:
    """Whose constructs are used: tepal's on its loop, Trio's under Trio, asyncio's and anyio's elsewhere."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return "trio"
    return "tepal" if type(loop).__module__.startswith("tepal") else "asyncio"


@structured.add("spawn_join", 20_000)
async def spawn_join(count: int, watch: Stopwatch) -> None:
    """A hundred children at a time: a nursery, or asyncio's TaskGroup. Per child."""
    opened: Any = None
    if _here() == "asyncio":
        for _ in range(count // BATCH):
            async with asyncio.TaskGroup() as group:
                for _ in range(BATCH):
                    group.create_task(nothing())
        return
    if _here() == "trio":
        import trio as opened
    else:
        import tepal as opened
    for _ in range(count // BATCH):
        async with opened.open_nursery() as nursery:
            for _ in range(BATCH):
                nursery.start_soon(nothing)


@structured.add("supervisor", 20_000)
async def supervisor(count: int, watch: Stopwatch) -> None:
    """The same with a supervisor, where there is one."""
    if _here() != "tepal":
        await spawn_join(count, watch)
        return
    import tepal

    for _ in range(count // BATCH):
        async with tepal.open_supervisor() as sup:
            for _ in range(BATCH):
                sup.create_task(nothing())


@structured.add("anyio_task_group", 10_000)
async def anyio_task_group(count: int, watch: Stopwatch) -> None:
    """anyio's own group on each loop, and on Trio. Per child."""
    import anyio

    for _ in range(count // BATCH):
        async with anyio.create_task_group() as group:
            for _ in range(BATCH):
                group.start_soon(nothing)


@structured.add("move_on_after", 10_000)
async def move_on_after(count: int, watch: Stopwatch) -> None:
    """A time limit on a block that does not wait: tepal's, anyio's, Trio's."""
    scopes: Any = None
    if _here() == "tepal":
        import tepal as scopes
    elif _here() == "trio":
        import trio as scopes
    else:
        import anyio as scopes
    for _ in range(count):
        with scopes.move_on_after(10):  # noqa: ASYNC100 (what it costs is the question)
            pass


@structured.add("sleep0", 20_000)
async def sleep0(count: int, watch: Stopwatch) -> None:
    """Letting others run, in no scope: what the next row is held against."""
    sleep = _sleep()
    for _ in range(count):
        await sleep(0)


@structured.add("sleep0_in_scope", 20_000)
async def sleep0_in_scope(count: int, watch: Stopwatch) -> None:
    """The same in a scope that is not cancelled."""
    scopes: Any = None
    if _here() == "tepal":
        import tepal as scopes
    elif _here() == "trio":
        import trio as scopes
    else:
        import anyio as scopes
    sleep = _sleep()
    with scopes.CancelScope():
        for _ in range(count):
            await sleep(0)


def _sleep() -> Any:
    if _here() == "tepal":
        import tepal

        return tepal.sleep
    if _here() == "trio":
        import trio

        return trio.sleep
    return asyncio.sleep


@structured.add("channel", 10_000)
async def channel(count: int, watch: Stopwatch) -> None:
    """To another task and back, through two channels, or queues, of one place."""
    if _here() == "asyncio":
        await _queues(count)
        return
    opened: Any = None
    if _here() == "tepal":
        import tepal

        opened, nurseries = tepal.open_channel, tepal.open_nursery
    else:
        import trio

        opened, nurseries = trio.open_memory_channel, trio.open_nursery
    there, there_end = opened(1)
    back, back_end = opened(1)

    async def answer() -> None:
        async for value in there_end:
            await back.send(value)

    async with nurseries() as nursery:
        nursery.start_soon(answer)
        for number in range(count):
            await there.send(number)
            await back_end.receive()
        there.close()


async def _queues(count: int) -> None:
    there: asyncio.Queue[int] = asyncio.Queue(1)
    back: asyncio.Queue[int] = asyncio.Queue(1)

    async def answer() -> None:
        for _ in range(count):
            await back.put(await there.get())

    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        for number in range(count):
            await there.put(number)
            await back.get()
