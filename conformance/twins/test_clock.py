"""The clock belongs to the loop and can be replaced: suites with a clock of their own put it on the instance."""

from __future__ import annotations

import asyncio

import pytest


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = 1000.0
        loop.time = lambda: self.now  # type: ignore[method-assign]


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_timers_follow_a_clock_of_ones_own(loop: asyncio.AbstractEventLoop) -> None:
    clock, seen = Clock(loop), []
    loop.call_later(10, seen.append, "ten")
    loop.call_later(20, seen.append, "twenty")
    loop.call_at(1015, seen.append, "fifteen")
    turn(loop)
    assert seen == []
    clock.now = 1012.0
    turn(loop)
    turn(loop)
    assert seen == ["ten"]
    clock.now = 2000.0
    turn(loop)
    turn(loop)
    assert seen == ["ten", "fifteen", "twenty"]


def test_sleeping_follows_a_clock_of_ones_own(loop: asyncio.AbstractEventLoop) -> None:
    clock = Clock(loop)

    async def main() -> str:
        sleeper = asyncio.create_task(asyncio.sleep(3600, "slept"))
        await asyncio.sleep(0)
        clock.now += 3601
        return await sleeper

    assert loop.run_until_complete(main()) == "slept"


def test_timeouts_follow_a_clock_of_ones_own(loop: asyncio.AbstractEventLoop) -> None:
    clock = Clock(loop)

    async def main() -> None:
        async with asyncio.timeout(3600):
            clock.now += 3601
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        loop.run_until_complete(main())


def test_a_subclass_may_bring_the_clock(loop: asyncio.AbstractEventLoop) -> None:
    class Fast(type(loop)):  # type: ignore[misc]
        def time(self) -> float:
            return float(super().time() * 1000)

    fast = Fast()

    def spin() -> None:  # a loop that sleeps asks the kernel to wake it in seconds of the kernel
        fast.call_soon(spin)

    try:
        fast.call_soon(spin)
        fast.run_until_complete(asyncio.sleep(5))  # five milliseconds of everybody else
    finally:
        fast.close()
