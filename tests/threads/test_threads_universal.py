"""Queues, locks and events between threads and tasks, and between loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import tepal

COUNT = 200


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


async def until(ended: threading.Thread) -> None:
    while ended.is_alive():
        await tepal.sleep(0.001)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_items_go_from_threads_to_tasks_and_back(size: int) -> None:
    async def main() -> None:
        there: tepal.UniversalQueue[int] = tepal.UniversalQueue(size)
        back: tepal.UniversalQueue[int] = tepal.UniversalQueue(size)

        def work() -> None:
            for _ in range(COUNT):
                back.put_sync(2 * there.get_sync())

        thread = in_thread(work)

        async def send() -> None:
            for number in range(COUNT):
                await there.put(number)

        async with tepal.open_nursery() as nursery:
            nursery.start_soon(send)
            assert [await back.get() for _ in range(COUNT)] == [2 * number for number in range(COUNT)]
        await until(thread)
        assert there.statistics() == (0, 0)

    tepal.run(main)


def test_a_queue_between_two_loops() -> None:
    queue: tepal.UniversalQueue[int] = tepal.UniversalQueue(2)
    received = []

    async def send() -> None:
        for number in range(COUNT):
            await queue.put(number)

    async def receive() -> None:
        received.extend([await queue.get() for _ in range(COUNT)])

    thread = in_thread(lambda: tepal.run(send))
    tepal.run(receive)
    thread.join()
    assert received == list(range(COUNT))


def test_at_once_or_in_time_or_not() -> None:
    queue: tepal.UniversalQueue[int] = tepal.UniversalQueue(1)
    for use in (queue.get_nowait, lambda: queue.get_sync(timeout=0.001)):
        with pytest.raises(tepal.QueueEmpty):
            use()
    queue.put_nowait(1)
    assert queue.full() and queue.qsize() == 1 and not queue.empty()
    for put in (lambda: queue.put_nowait(2), lambda: queue.put_sync(2, timeout=0.001)):
        with pytest.raises(tepal.QueueFull):
            put()
    assert queue.get_nowait() == 1
    assert queue.statistics() == tepal.UniversalStatistics(waiters=0, size=0)


def test_who_is_cancelled_gives_back() -> None:
    async def main() -> None:
        queue: tepal.UniversalQueue[str] = tepal.UniversalQueue()
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await tepal.sleep(0)
        queue.put_nowait("item")
        first.cancel()
        assert await second == "item"
        third = asyncio.create_task(queue.get())
        await tepal.sleep(0)
        third.cancel()
        await asyncio.wait([third])
        queue.put_nowait("other")
        assert queue.get_nowait() == "other"
        lock = tepal.UniversalLock()
        await lock.acquire()
        tasks = [asyncio.create_task(lock.acquire()) for _ in range(2)]
        await tepal.sleep(0)
        lock.release()
        tasks[0].cancel()
        await tasks[1]
        assert lock.locked()
        lock.release()
        assert not lock.locked()
        with pytest.raises(RuntimeError, match="not acquired"):
            lock.release()

    tepal.run(main)


def test_a_lock_excludes_both_kinds() -> None:
    async def main() -> None:
        lock = tepal.UniversalLock()
        inside = most = 0

        def count(change: int) -> None:
            nonlocal inside, most
            inside += change
            most = max(most, inside)

        def thread() -> None:
            for _ in range(COUNT):
                with lock:
                    count(1)
                    count(-1)

        async def task() -> None:
            for _ in range(COUNT):
                async with lock:
                    count(1)
                    await tepal.sleep(0)
                    count(-1)

        threads = [in_thread(thread) for _ in range(2)]
        await tepal.join(task, task)
        for one in threads:
            await until(one)
        assert most == 1
        assert lock.statistics() == (0, 0)
        assert lock.acquire_sync()
        assert not lock.acquire_sync(timeout=0.001)

    tepal.run(main)


def test_an_event_wakes_both_kinds() -> None:
    async def main() -> None:
        event = tepal.UniversalEvent()
        woken: list[Any] = []
        thread = in_thread(lambda: woken.append(event.wait_sync()))

        async def wait() -> None:
            await event.wait()
            woken.append("task")

        assert not event.wait_sync(timeout=0.001)
        async with tepal.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            while event.statistics().waiters < 3:
                await tepal.sleep(0.001)
            in_thread(event.set).join()
        await until(thread)
        assert sorted(map(str, woken)) == ["True", "task", "task"]
        assert event.is_set() and event.wait_sync()
        await event.wait()
        event.clear()
        assert not event.is_set()

    tepal.run(main)


def test_one_whose_loop_is_gone_is_passed_by() -> None:
    queue: tepal.UniversalQueue[int] = tepal.UniversalQueue()
    loop = tepal.new_event_loop()
    task = loop.create_task(queue.get())
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    queue.put_nowait(1)
    assert queue.get_nowait() == 1
