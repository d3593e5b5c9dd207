"""Primitives: one body, on asyncio's with asyncio's loop and on tepal's with tepal's loop."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import warnings
from typing import Any

import pytest

import tepal

from .support import Run

NAMES = ("BoundedSemaphore", "Condition", "Event", "LifoQueue", "Lock", "PriorityQueue", "Queue", "Semaphore")


@pytest.mark.parametrize("name", NAMES)
def test_ours_are_asyncios(name: str) -> None:
    assert issubclass(getattr(tepal, name), getattr(asyncio, name))


def test_a_lock_is_given_in_the_order_of_asking(run: Run, kit: Any) -> None:
    async def main() -> None:
        lock, seen = kit.Lock(), []

        async def work(number: int) -> None:
            async with lock:
                seen.append(number)
                await kit.sleep(0)

        await asyncio.gather(*(work(number) for number in range(10)))
        assert seen == list(range(10))
        assert not lock.locked()
        with pytest.raises(RuntimeError, match="not acquired"):
            lock.release()

    run(main)


def test_what_need_not_wait_does_not_let_others_run(run: Run, kit: Any) -> None:
    async def main() -> None:
        seen: list[str] = []
        asyncio.get_running_loop().call_soon(seen.append, "other")
        lock, semaphore, queue, event = kit.Lock(), kit.Semaphore(1), kit.Queue(), kit.Event()
        async with lock, semaphore, kit.timeout(5):
            await queue.put(1)
            await queue.get()
            event.set()
            await event.wait()
        assert seen == []
        await kit.sleep(0)
        assert seen == ["other"]

    run(main)


@pytest.mark.parametrize("seed", range(30))
def test_cancelled_waiters_lose_nothing(run: Run, kit: Any, seed: int) -> None:
    """Items, wake-ups and permits, with tasks cancelled at random while they wait."""
    choose = random.Random(seed)

    async def main() -> None:
        queue, semaphore, lock = kit.Queue(2), kit.Semaphore(2), kit.Lock()
        got: list[int] = []
        inside = 0

        async def produce() -> int:
            for number in range(40):
                await queue.put(number)
            return 40

        async def consume() -> None:
            nonlocal inside
            while True:
                async with semaphore:
                    item = await queue.get()
                    got.append(item)
                    async with lock:
                        inside += 1
                        assert inside == 1
                        inside -= 1
                    queue.task_done()

        producer = asyncio.create_task(produce())
        consumers = [asyncio.create_task(consume()) for _ in range(5)]
        while not producer.done() or queue.qsize():
            victim = choose.randrange(5)
            if choose.random() < 0.3 and not lock.locked():
                consumers[victim].cancel()
                consumers[victim] = asyncio.create_task(consume())
            await kit.sleep(0)
        for consumer in consumers:
            consumer.cancel()
        await asyncio.wait(consumers)
        assert got == list(range(40))
        assert not lock.locked()
        async with kit.timeout(5):
            await semaphore.acquire()
            await semaphore.acquire()

    run(main)


def test_queues_keep_their_orders(run: Run, kit: Any) -> None:
    async def main() -> None:
        for kind, order in (("Queue", [2, 3, 1]), ("LifoQueue", [1, 3, 2]), ("PriorityQueue", [1, 2, 3])):
            queue = getattr(kit, kind)()
            for item in (2, 3, 1):
                queue.put_nowait(item)
            assert [await queue.get() for _ in range(3)] == order
            with pytest.raises(asyncio.QueueEmpty):
                queue.get_nowait()

    run(main)


def test_a_subclass_may_keep_the_items_itself(run: Run, kit: Any) -> None:
    class Unique(kit.Queue):  # type: ignore[misc]
        def __init__(self, name: str, size: int) -> None:
            super().__init__(size)
            self.name = name

        def _init(self, maxsize: int) -> None:
            self._queue: Any = {}

        def _put(self, item: Any) -> None:
            self._queue[item] = None

        def _get(self) -> Any:
            return self._queue.popitem()[0]

    async def main() -> None:
        queue = Unique("name", 2)
        for item in (1, 1, 2):
            await queue.put(item)
        assert queue.full()
        assert queue.qsize() == 2
        assert {await queue.get(), await queue.get()} == {1, 2}

    run(main)


def test_a_program_may_reach_into_a_queue(run: Run, kit: Any) -> None:
    async def main() -> None:
        queue = kit.Queue()
        queue.put_nowait(1)
        queue._queue.append(2)
        assert [await queue.get(), await queue.get()] == [1, 2]
        queue.put_nowait(3)
        queue._queue.clear()
        assert queue.empty()

    run(main)


def test_timeouts(run: Run, kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            async with kit.timeout(0.001) as limit:
                await kit.sleep(10)
        assert limit.expired()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        async with kit.timeout(10) as limit:
            limit.reschedule(None)
            assert limit.when() is None
        assert not limit.expired()
        with pytest.raises(RuntimeError):
            limit.reschedule(1)
        with pytest.raises(TimeoutError):
            await kit.wait_for(kit.sleep(10), 0.001)
        assert await kit.wait_for(kit.sleep(0, "result"), 5) == "result"

    run(main)


def test_a_cancellation_from_outside_is_no_timeout(run: Run, kit: Any) -> None:
    async def main() -> None:
        async def work() -> None:
            async with kit.timeout(10):
                await kit.sleep(10)

        task = asyncio.create_task(work())
        await kit.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_what_nobody_awaits_warns(run: Run, kit: Any) -> None:
    async def main() -> None:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            kit.Queue().put(1)
            gc.collect()
        assert [str(one.message) for one in seen] == ["coroutine 'Queue.put' was never awaited"]

    run(main)


def test_what_a_primitive_returns_is_a_coroutine(run: Run, kit: Any) -> None:
    async def main() -> None:
        queue = kit.Queue()
        task = asyncio.create_task(queue.get())
        await kit.sleep(0)
        queue.put_nowait("item")
        assert await task == "item"
        waiting = queue.get()
        assert asyncio.iscoroutine(waiting)
        waiting.close()
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await waiting

    run(main)


@pytest.mark.parametrize("name", ["Lock", "Semaphore"])
def test_a_class_that_changes_after_its_use_is_heard(
    run: Run, kit: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = getattr(kit, name)
    seen = []

    class Mine(base):  # type: ignore[misc]
        pass

    async def acquire(self: Any) -> bool:
        seen.append(type(self).__name__)
        return bool(await base.acquire(self))

    async def use(gate: Any) -> None:
        async with gate:
            pass

    async def main() -> None:
        gates = [base(), Mine()]
        for gate in gates * 2:
            await use(gate)
        assert not seen
        with monkeypatch.context() as patch:
            patch.setattr(Mine, "acquire", acquire)
            for gate in gates * 2:
                await use(gate)
        assert seen == ["Mine", "Mine"]
        for gate in gates * 2:
            await use(gate)
        assert seen == ["Mine", "Mine"]

    run(main)


def test_what_a_subclass_overrides_is_called(run: Run, kit: Any) -> None:
    seen: list[str] = []

    class Lock(kit.Lock):  # type: ignore[misc]
        async def acquire(self) -> bool:
            seen.append("acquire")
            return bool(await super().acquire())

        def release(self) -> None:
            seen.append("release")
            super().release()

    class Semaphore(kit.BoundedSemaphore):  # type: ignore[misc]
        async def acquire(self) -> bool:
            seen.append("acquire")
            return bool(await super().acquire())

    class Queue(kit.Queue):  # type: ignore[misc]
        def put_nowait(self, item: object) -> None:
            seen.append(f"put {item}")
            super().put_nowait(item)

        def get_nowait(self) -> Any:
            item = super().get_nowait()
            seen.append(f"got {item}")
            return item

    async def main() -> None:
        async with Lock() as inside:
            assert inside is None
        async with Semaphore(1):
            pass
        queue = Queue()
        await queue.put(1)
        assert await queue.get() == 1
        waiting = asyncio.create_task(queue.get())
        await kit.sleep(0)
        await queue.put(2)
        assert await waiting == 2
        assert seen == ["acquire", "release", "acquire", "put 1", "got 1", "put 2", "got 2"]

    run(main)


def test_a_coroutine_warns_of_the_old_way_to_throw(run: Run, kit: Any) -> None:
    async def main() -> None:
        for coroutine in (kit.Lock().acquire(), kit.Queue().get(), kit.sleep(0)):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                with pytest.raises(ValueError, match="thrown"):
                    coroutine.throw(ValueError, ValueError("thrown"), None)
            wanted = [DeprecationWarning] if sys.version_info >= (3, 12) else []
            assert [one.category for one in seen if one.category is DeprecationWarning] == wanted

    run(main)
