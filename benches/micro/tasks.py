"""Tasks and futures."""

from __future__ import annotations

import asyncio

from benches.micro._case import Cases, Stopwatch

tasks = Cases()

#: How many children are made at a time.
BATCH = 100


async def nothing() -> None:
    """A child with nothing to do."""


@tasks.add("sleep0", 30_000)
async def sleep0(count: int, watch: Stopwatch) -> None:
    """A task that lets others run."""
    for _ in range(count):
        await asyncio.sleep(0)


@tasks.add("create_task", 20_000)
async def create_task(count: int, watch: Stopwatch) -> None:
    """Made, run, awaited."""
    for _ in range(count // BATCH):
        for task in [asyncio.create_task(nothing()) for _ in range(BATCH)]:
            await task


@tasks.add("gather", 20_000)
async def gather(count: int, watch: Stopwatch) -> None:
    """A hundred at a time, per child."""
    for _ in range(count // BATCH):
        await asyncio.gather(*[nothing() for _ in range(BATCH)])


@tasks.add("taskgroup", 20_000)
async def taskgroup(count: int, watch: Stopwatch) -> None:
    """A hundred at a time, per child."""
    for _ in range(count // BATCH):
        async with asyncio.TaskGroup() as group:
            for _ in range(BATCH):
                group.create_task(nothing())


@tasks.add("future_pingpong", 20_000)
async def future_pingpong(count: int, watch: Stopwatch) -> None:
    """A future that a callback resolves while the task waits."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future
