"""`CapacityLimiter`."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

import tepal


def test_so_many_at_a_time() -> None:
    async def main() -> None:
        limiter = tepal.CapacityLimiter(2)
        order = []

        async def work(name: str) -> None:
            async with limiter:
                order.append(name)
                await tepal.sleep(0)

        async with tepal.open_nursery() as nursery:
            for name in "abcd":
                nursery.start_soon(work, name)
            await tepal.sleep(0)
            assert limiter.statistics()[:2] == (2, 2)
            assert limiter.statistics().tasks_waiting == 2
        assert order == list("abcd")
        assert limiter.available_tokens == 2

    tepal.run(main)


def test_one_token_for_each_borrower() -> None:
    async def main() -> None:
        limiter = tepal.CapacityLimiter(3)
        await limiter.acquire()
        with pytest.raises(RuntimeError, match="already"):
            limiter.acquire_nowait()
        await limiter.acquire_on_behalf_of("other")
        limiter.acquire_on_behalf_of_nowait("third")
        with pytest.raises(tepal.WouldBlock):
            limiter.acquire_on_behalf_of_nowait("fourth")
        limiter.release()
        limiter.release_on_behalf_of("other")
        for borrower in ("other", "nobody"):
            with pytest.raises(RuntimeError, match="holds none"):
                limiter.release_on_behalf_of(borrower)
        assert repr(limiter) == "<tepal.CapacityLimiter 1/3 with 0 waiting>"

    tepal.run(main)


def test_the_number_may_be_changed() -> None:
    async def main() -> None:
        limiter = tepal.CapacityLimiter(0)
        tasks = [asyncio.create_task(limiter.acquire_on_behalf_of(number)) for number in range(3)]
        await tepal.sleep(0)
        limiter.total_tokens = 2
        await tepal.sleep(0)
        assert [task.done() for task in tasks] == [True, True, False]
        limiter.total_tokens = 1
        assert limiter.available_tokens == -1
        limiter.release_on_behalf_of(0)
        await tepal.sleep(0)
        assert not tasks[2].done()
        limiter.total_tokens = math.inf
        await tasks[2]

    tepal.run(main)


@pytest.mark.parametrize("late", [True, False])
def test_who_is_cancelled_gives_back(late: bool) -> None:
    async def main() -> None:
        limiter = tepal.CapacityLimiter(1)
        limiter.acquire_on_behalf_of_nowait("holder")
        tasks = [asyncio.create_task(limiter.acquire_on_behalf_of(number)) for number in range(2)]
        await tepal.sleep(0)
        if late:
            limiter.release_on_behalf_of("holder")
            tasks[0].cancel()
        else:
            tasks[0].cancel()
            limiter.release_on_behalf_of("holder")
        await tasks[1]
        assert limiter.statistics().borrowers == (1,)
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    tepal.run(main)


@pytest.mark.parametrize(("wrong", "error"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_numbers_that_are_none(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        tepal.CapacityLimiter(wrong)
