"""What only tepal's primitives have: statistics, the loops they want, and `accelerated`."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

import tepal

NAMES = ("Queue", "Lock", "Event", "Semaphore", "Condition", "Barrier", "sleep", "timeout", "wait_for")


def test_statistics() -> None:
    async def main() -> None:
        queue: tepal.Queue[int] = tepal.Queue(3)
        for number in range(3):
            queue.put_nowait(number)
        putting = asyncio.create_task(queue.put(3))
        await asyncio.sleep(0)
        assert queue.statistics() == tepal.QueueStatistics(3, 3, 3, 0, 1, 3, 0)
        queue.get_nowait()
        await putting
        lock, semaphore, event = tepal.Lock(), tepal.Semaphore(2), tepal.Event()
        async with lock, semaphore:
            waiting = [asyncio.create_task(lock.acquire()), asyncio.create_task(event.wait())]
            await asyncio.sleep(0)
            assert lock.statistics() == tepal.LockStatistics(True, 1)
            assert semaphore.statistics() == tepal.SemaphoreStatistics(1, 0)
            assert event.statistics() == tepal.EventStatistics(False, 1)
        event.set()
        await asyncio.gather(*waiting)
        assert tepal.Condition().statistics() == tepal.ConditionStatistics(0, False)
        assert tepal.Barrier(2).statistics() == tepal.BarrierStatistics(2, 0, False)

    tepal.run(main())


def test_another_loop_is_an_error_and_no_hang() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="tepal's event loops only"):
            await tepal.Event().wait()
        with pytest.raises(RuntimeError, match="tepal's event loops only"):
            await tepal.sleep(1)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()


def test_a_task_of_asyncios_own_may_wait() -> None:
    async def main() -> None:
        event = tepal.Event()
        task = asyncio.Task(event.wait())
        await asyncio.sleep(0)
        event.set()
        assert type(task) is not tepal.Task
        assert await task is True
        with pytest.raises(TimeoutError):
            await asyncio.Task(tepal.wait_for(tepal.sleep(10), 0.001))

    tepal.run(main())


def test_accelerated_is_taken_back() -> None:
    before = {name: getattr(asyncio, name) for name in NAMES}
    with tepal.accelerated():
        assert asyncio.Queue is tepal.Queue
        assert asyncio.locks.Lock is tepal.Lock
        assert isinstance(asyncio.Queue(), before["Queue"])

        async def main() -> None:
            async with asyncio.timeout(5), asyncio.Lock():
                await asyncio.sleep(0)

        tepal.run(main())
    assert {name: getattr(asyncio, name) for name in NAMES} == before


def test_the_command_accelerates(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import asyncio\nprint(asyncio.Queue.__module__, asyncio.Lock.__module__)\n")
    words = [sys.executable, "-m", "tepal", "run", "--accelerate", str(program)]
    assert subprocess.check_output(words, text=True).split() == ["tepal", "tepal"]


@pytest.mark.parametrize("kind", [tepal.Queue, tepal.Lock, tepal.Event, tepal.Semaphore])
def test_a_primitive_in_a_cycle_is_collected(kind: type) -> None:
    thing = kind()
    thing.itself = thing
    ref = weakref.ref(thing)
    del thing
    gc.collect()
    assert ref() is None


def test_a_queue_in_its_own_items_is_collected() -> None:
    queue: tepal.Queue[object] = tepal.Queue()
    queue.put_nowait(queue)
    ref = weakref.ref(queue)
    del queue
    gc.collect()
    assert ref() is None
