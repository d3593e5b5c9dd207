"""A cancellation is delivered by events: a task that resists is not told faster than it listens, and the loop sleeps meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tepal

Host = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


class CountingLoop(tepal.EventLoop):
    """Counts its turns by a callback that stands behind the jobs of each, and moves its clock when it is asked."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()

    def time(self) -> float:
        return self.now


@pytest.fixture(params=["ours", "asyncio's"])
def host(request: pytest.FixtureRequest) -> Host:
    """Makes the task that resists."""
    if request.param == "ours":
        return lambda coro: asyncio.get_running_loop().create_task(coro)
    return lambda coro: asyncio.tasks._CTask(coro, loop=asyncio.get_running_loop())  # type: ignore[attr-defined]


def test_one_who_waits_for_what_cannot_be_cancelled_is_told_once(host: Host) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked = []

        class Stubborn(asyncio.Future[None]):
            def cancel(self, msg: Any = None) -> bool:
                asked.append(msg)
                return False

        future = Stubborn(loop=loop)
        release = threading.Event()

        async def body() -> None:
            with tepal.CancelScope() as scope:
                loop.call_soon(scope.cancel)
                await future
            assert not scope.cancelled_caught

        task = host(body())
        # A thread that takes its time: the loop has nothing to do until it is done.
        waiting = loop.run_in_executor(None, release.wait)
        for _ in range(5):
            await asyncio.sleep(0)
        before = len(asked)
        await asyncio.sleep(0.05)
        # However long it is: the turns that a timer made, and none besides.
        assert len(asked) - before <= 3
        release.set()
        await waiting
        future.set_result(None)
        await task
        assert before >= 1

    tepal.run(main())


def test_one_who_swallows_every_cancellation_is_told_ever_more_seldom() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        told = 0

        async def body() -> None:
            nonlocal told
            with tepal.CancelScope() as scope:
                scope.cancel()
                while loop.now < 1:
                    try:
                        await loop.create_future()
                    except tepal.Cancelled:
                        told += 1

        task = loop.create_task(body())
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
            if turns > 3_000:
                loop.now += 1 / 4096
        # At once at first, for a clean-up of many things; then once in a millisecond.
        assert 1_000 <= told <= 2_010

    with tepal.Runner(loop_factory=CountingLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize("group_class", [asyncio.TaskGroup, tepal.TaskGroup])
def test_a_group_whose_child_resists_does_not_spin(group_class: type[asyncio.TaskGroup]) -> None:
    # The way out of asyncio's group waits again whenever it is broken off.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        release = threading.Event()
        steps = 0

        async def child() -> None:
            try:
                await loop.create_future()
            finally:
                await asyncio.shield(loop.run_in_executor(None, release.wait))

        async def body() -> None:
            with tepal.CancelScope() as scope:
                async with group_class() as group:
                    group.create_task(child())
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    scope.cancel()

        def count() -> None:
            nonlocal steps
            steps += 1

        timer = threading.Timer(0.2, release.set)
        timer.start()
        task = loop.create_task(body())
        for _ in range(10):
            await asyncio.sleep(0)
        begun = loop.time()
        while not task.done():
            before = loop.time()
            await asyncio.wait([task], timeout=0.02)
            count()
            assert loop.time() - before < 5
        assert loop.time() - begun < 10
        assert steps <= 12, "the loop slept"
        timer.join()

    tepal.run(main())


def test_clean_up_of_many_things_is_told_at_once_each_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        told = 0
        with tepal.CancelScope() as scope:
            scope.cancel()
            for _ in range(900):
                try:
                    await loop.create_future()
                except tepal.Cancelled:
                    told += 1
        assert told == 900
        assert loop.now == 0.0

    with tepal.Runner(loop_factory=CountingLoop) as runner:
        runner.run(main())


def test_cancelling_from_another_thread_wakes_the_loop() -> None:
    async def main() -> None:
        scope = tepal.CancelScope()
        thread = threading.Timer(0.02, scope.cancel)
        thread.start()
        with scope:
            await asyncio.get_running_loop().create_future()
        assert scope.cancelled_caught
        thread.join()

    tepal.run(main())
