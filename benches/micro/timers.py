"""``call_later``: firing, being cancelled, and being one of a million."""

from __future__ import annotations

import asyncio

from benches.micro._case import Cases, Stopwatch

timers = Cases()

MILLION = 1_000_000


@timers.add("timer_fire", 20_000)
async def fire(count: int, watch: Stopwatch) -> None:
    """Timers that all wait at once and come due over ten milliseconds, out of the order in which they were set."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def due() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    for number in range(count):
        loop.call_later(0.05 + number * 7919 % 1000 / 100_000, due)
    await done


@timers.add("timer_cancel", 30_000)
async def cancel(count: int, watch: Stopwatch) -> None:
    """Set and cancelled, as most timeouts are; the loop turns now and then, as it would."""
    loop = asyncio.get_running_loop()

    def due() -> None:
        pass

    for number in range(count):
        loop.call_later(30 + number % 7, due).cancel()
        if not number % 1000:
            await asyncio.sleep(0)


@timers.add("timer_million_add", MILLION, repeats=1)
async def add_a_million(count: int, watch: Stopwatch) -> None:
    """What each of a million timers costs to set."""
    _fill(asyncio.get_running_loop(), count)


@timers.add("timer_among_million", 20_000, repeats=1)
async def among_a_million(count: int, watch: Stopwatch) -> None:
    """Set and fired while a million others wait."""
    loop = asyncio.get_running_loop()
    _fill(loop, MILLION)
    await asyncio.sleep(0)
    watch.start()
    for _ in range(count // 1000 or 1):
        done = loop.create_future()
        for number in range(min(count, 1000) - 1):
            loop.call_later(number % 10 / 100_000, int)
        loop.call_later(0.0002, done.set_result, None)
        await done
    watch.stop()


def _fill(loop: asyncio.AbstractEventLoop, count: int) -> None:
    for number in range(count):
        loop.call_later(1000 + number * 7919 % 100_003 / 1000, int)
