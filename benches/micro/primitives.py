"""asyncio's queue, lock and timeouts on each loop."""

from __future__ import annotations

import asyncio

from benches.micro._case import Cases, Stopwatch

primitives = Cases()


@primitives.add("queue_pingpong", 10_000)
async def queue_pingpong(count: int, watch: Stopwatch) -> None:
    """To another task and back through two queues of one place."""
    there: asyncio.Queue[int] = asyncio.Queue(1)
    back: asyncio.Queue[int] = asyncio.Queue(1)

    async def answer() -> None:
        for _ in range(count):
            await back.put(await there.get())

    task = asyncio.create_task(answer())
    for number in range(count):
        await there.put(number)
        await back.get()
    await task


@primitives.add("lock_contended", 10_000)
async def lock_contended(count: int, watch: Stopwatch) -> None:
    """Ten tasks want one lock and let others run while they hold it."""
    lock = asyncio.Lock()

    async def work() -> None:
        for _ in range(count // 10):
            async with lock:
                await asyncio.sleep(0)

    await asyncio.gather(*[work() for _ in range(10)])


@primitives.add("timeout", 20_000)
async def timeout(count: int, watch: Stopwatch) -> None:
    """Around a body that suspends once."""
    for _ in range(count):
        async with asyncio.timeout(10):
            await asyncio.sleep(0)


@primitives.add("wait_for", 10_000)
async def wait_for(count: int, watch: Stopwatch) -> None:
    """Around a coroutine that suspends once."""

    async def work() -> None:
        await asyncio.sleep(0)

    for _ in range(count):
        await asyncio.wait_for(work(), 10)
