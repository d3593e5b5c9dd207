"""Other threads: into the loop, and out of it and back."""

from __future__ import annotations

import asyncio
import threading

from benches.micro._case import Cases, Stopwatch

threads = Cases()


@threads.add("threadsafe_flood", 20_000, helped=True)
async def threadsafe_flood(count: int, watch: Stopwatch) -> None:
    """A thread that schedules as fast as it can."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def work() -> None:
        for _ in range(count - 1):
            loop.call_soon_threadsafe(int)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=work)
    watch.start()
    thread.start()
    await done
    watch.stop()
    thread.join()


@threads.add("threadsafe_pingpong", 3_000, helped=True)
async def threadsafe_pingpong(count: int, watch: Stopwatch) -> None:
    """A thread that wakes the sleeping loop and waits for its answer, again and again."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    answered = threading.Semaphore(0)

    def work() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(answered.release)
            answered.acquire()
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=work)
    watch.start()
    thread.start()
    await done
    watch.stop()
    thread.join()


@threads.add("run_in_executor", 3_000, helped=True)
async def run_in_executor(count: int, watch: Stopwatch) -> None:
    """A call in another thread and back, one after the other."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, int)
    watch.start()
    for _ in range(count):
        await loop.run_in_executor(None, int)
