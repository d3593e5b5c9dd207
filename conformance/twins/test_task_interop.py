"""What others do with tasks and futures: tools that look into them, threads that ask for them, code that mixes kinds of them."""

from __future__ import annotations

import _asyncio
import asyncio
import copy
import gc
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

from .support import Run


async def give(value: Any, turns: int = 0) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


def c_task(coroutine: Any, **keywords: Any) -> Any:
    """A task of the interpreter's own, whatever the loop makes."""
    return _asyncio.Task(coroutine, loop=asyncio.get_running_loop(), **keywords)


def c_future() -> Any:
    """A future of the interpreter's own."""
    return _asyncio.Future(loop=asyncio.get_running_loop())


# --- kinds that mix -------------------------------------------------------------------------------------------------------


def test_tasks_of_one_kind_await_futures_of_the_other(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def wait(future: Any) -> Any:
            return await future

        for make_task in (loop.create_task, c_task):
            for make_future in (loop.create_future, c_future):
                future = make_future()
                task = make_task(wait(future))
                await asyncio.sleep(0)
                future.set_result("result")
                assert await task == "result"

                future = make_future()
                task = make_task(wait(future))
                await asyncio.sleep(0)
                future.set_exception(ValueError("error"))
                with pytest.raises(ValueError, match="error"):
                    await task

                future = make_future()
                task = make_task(wait(future))
                await asyncio.sleep(0)
                assert task.cancel("why")
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert future.cancelled()

    run(main)


def test_tasks_of_both_kinds_await_each_other(run: Run) -> None:
    async def main() -> None:
        create_task = asyncio.get_running_loop().create_task

        async def climb(height: int) -> int:
            if not height:
                await asyncio.sleep(0)
                return 0
            make = create_task if height % 2 else c_task
            return 1 + int(await make(climb(height - 1)))

        assert await create_task(climb(20)) == 20
        assert await c_task(climb(20)) == 20
        outer = create_task(climb(20))
        for _ in range(8):
            await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer

    run(main)


def test_gather_and_groups_of_both_kinds(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future(), c_future()]
        for future in futures:
            loop.call_soon(future.set_result, "future")
        mixed = [
            give(1, 2),
            c_task(give(2, 1)),
            loop.create_task(give(3, 3)),
            *futures,
            asyncio.gather(give(4), c_task(give(5))),
        ]
        assert await asyncio.gather(*mixed) == [1, 2, 3, "future", "future", [4, 5]]
        tasks = {c_task(give(1)), loop.create_task(give(2))}
        done, pending = await asyncio.wait(tasks, timeout=5)
        assert (done, pending) == (tasks, set())
        assert await asyncio.shield(c_task(give(6, 2))) == 6
        assert sorted([await one for one in asyncio.as_completed([c_task(give(1)), give(2)])]) == [1, 2]

    run(main)


def test_awaitables_of_any_making(run: Run) -> None:
    class Thing:
        def __init__(self, value: Any) -> None:
            self.value = value

        def __await__(self) -> Generator[Any, Any, Any]:
            yield from asyncio.sleep(0).__await__()
            return (yield from asyncio.wrap_future(asyncio.ensure_future(give(self.value))).__await__())

    class Future:
        """One that only speaks the protocol of futures."""

        _asyncio_future_blocking = False

        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()
            self.callbacks: list[Any] = []
            self.value: Any = None
            self.cancels = 0

        def get_loop(self) -> Any:
            return self.loop

        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            self.callbacks.append((callback, context))

        def result(self) -> Any:
            return self.value

        def cancel(self, msg: Any = None) -> bool:
            self.cancels += 1
            return False

        def finish(self, value: Any) -> None:
            self.value = value
            for callback, context in self.callbacks:
                self.loop.call_soon(callback, self, context=context)

        def __await__(self) -> Generator[Any, Any, Any]:
            self._asyncio_future_blocking = True
            yield self
            return self.value

    async def main() -> None:
        async def wait(awaitable: Any) -> Any:
            return await awaitable

        assert await Thing(7) == 7
        own = Future()
        task = asyncio.create_task(wait(own))
        await asyncio.sleep(0)
        own.finish("finished")
        assert await task == "finished"
        own = Future()
        task = asyncio.create_task(wait(own))
        await asyncio.sleep(0)
        assert task.cancel()
        assert own.cancels == 1
        own.finish("too late")
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_the_eager_factories_of_others(run: Run) -> None:
    """As aiohttp and others make them: a task that runs its first step by itself, and swaps the current one."""
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        outer = asyncio.current_task()
        seen: list[Any] = []

        def factory(loop: Any, coro: Any, **keywords: Any) -> Any:
            return asyncio.Task(coro, loop=loop, eager_start=True, **keywords)

        async def work(turns: int) -> str:
            seen.append(asyncio.current_task())
            await give(None, turns)
            assert asyncio.current_task() is seen[-1]
            return "worked"

        loop.set_task_factory(factory)
        try:
            done = asyncio.create_task(work(0))
            assert done.done()
            assert asyncio.current_task() is outer
            assert seen == [done]
            pending = asyncio.create_task(work(2))
            assert not pending.done()
            assert await asyncio.gather(done, pending) == ["worked", "worked"]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work(turns)) for turns in (0, 1)]
            assert [task.result() for task in tasks] == ["worked", "worked"]
        finally:
            loop.set_task_factory(None)

    run(main)


def test_timeouts_reach_whatever_a_task_awaits(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for awaitable in (loop.create_future(), c_future(), c_task(give(1, 10**6)), asyncio.sleep(3600)):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await awaitable
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.create_future(), 0.001)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

        async def limited() -> str:
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(3600)
            except TimeoutError:
                return "timed out"
            return "never"

        assert await asyncio.gather(limited(), c_task(limited()), limited()) == ["timed out"] * 3

    run(main)


# --- those who look -------------------------------------------------------------------------------------------------------


def test_another_thread_may_ask_which_tasks_there_are(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks = {asyncio.create_task(give(number, 10**6), name=f"task {number}") for number in range(20)}
        await asyncio.sleep(0)
        current = asyncio.current_task()

        def look() -> tuple[set[Any], Any]:
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.current_task()
            return asyncio.all_tasks(loop), asyncio.current_task(loop)

        found, running = await asyncio.to_thread(look)
        assert tasks | {current} <= found
        assert running is None or running in found
        stop = threading.Event()

        counts = [0]

        def look_again_and_again() -> None:
            while not stop.is_set():
                assert all(isinstance(task, asyncio.Task) for task in asyncio.all_tasks(loop))
                counts[0] += 1

        looking = asyncio.create_task(asyncio.to_thread(look_again_and_again))
        while counts[0] < 50 and not looking.done():
            await asyncio.gather(*(give(number, number % 3) for number in range(20)))
        stop.set()
        await looking
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert not tasks & asyncio.all_tasks()

    run(main)


def test_debuggers_find_what_they_look_for(run: Run) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()

        async def wait() -> Any:
            return await future

        coroutine = wait()
        task: Any = asyncio.create_task(coroutine, name="looked at")
        assert task._coro is coroutine is task.get_coro()
        assert task._fut_waiter is None
        assert task._must_cancel is False
        assert task._state == "PENDING"
        await asyncio.sleep(0)
        assert task._fut_waiter is future
        ((callback, _context),) = future._callbacks
        assert getattr(callback, "__self__", None) is task or "wakeup" in repr(callback)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["wait"]
        assert "wait_for=" in repr(task)
        assert task.get_loop() is task._loop is asyncio.get_running_loop()
        assert task._log_destroy_pending is True
        assert task._source_traceback is None
        future.set_result(3)
        assert await task == 3
        assert task._result == 3
        assert task._exception is None
        assert task._fut_waiter is None
        assert task._callbacks in (None, [])

        later: Any = asyncio.create_task(give(1))
        later.cancel("why")
        assert later._must_cancel is True
        assert later._cancel_message == "why"
        with pytest.raises(asyncio.CancelledError):
            await later
        assert later._state == "CANCELLED"

        failed: Any = asyncio.create_task(wait_and_fail())
        with pytest.raises(ZeroDivisionError):
            await failed
        assert isinstance(failed._exception, ZeroDivisionError)
        assert failed._log_traceback is False
        with pytest.raises(ValueError, match="_log_traceback can only be set to False"):
            failed._log_traceback = True

    run(main)


async def wait_and_fail() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


def test_weak_references_to_tasks_and_futures(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gone: list[str] = []
        task = asyncio.create_task(give("kept", 1))
        future = loop.create_future()
        references = [
            weakref.ref(task, lambda _: gone.append("task")),
            weakref.ref(future, lambda _: gone.append("future")),
        ]
        by_task = weakref.WeakKeyDictionary({task: 1})
        assert by_task[task] == 1
        assert references[0]() is task
        future.set_result(1)
        assert await task == "kept"
        del task, future
        await asyncio.sleep(0)
        gc.collect()
        assert sorted(gone) == ["future", "task"]
        assert len(by_task) == 0

    run(main)


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
def test_tasks_and_futures_are_not_copied(run: Run, act: Callable[[Any], Any]) -> None:
    async def main() -> None:
        task = asyncio.create_task(give(1))
        for one in (task, asyncio.get_running_loop().create_future()):
            with pytest.raises(TypeError):
                act(one)
        await task

    run(main)


def test_a_program_may_have_tasks_of_its_own_class(run: Run) -> None:
    async def main() -> None:
        base: Any = type(asyncio.create_task(give(1)))

        class Named(base):  # type: ignore[misc]
            steps = 0

            def __init__(self, coro: Any, *, tag: str, **keywords: Any) -> None:
                super().__init__(coro, **keywords)
                self.tag = tag

            def cancel(self, msg: Any = None) -> bool:
                self.tag += " cancelled"
                return bool(super().cancel(msg))

        loop = asyncio.get_running_loop()
        task = Named(give("own", 2), tag="mine", loop=loop, name="named")
        assert isinstance(task, asyncio.Task)
        assert task in asyncio.all_tasks()
        assert await asyncio.gather(task, give(2)) == ["own", 2]
        assert (task.tag, task.get_name()) == ("mine", "named")
        stopped = Named(give("own", 10**6), tag="mine", loop=loop)
        gathered = asyncio.gather(stopped)
        await asyncio.sleep(0)
        gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathered
        assert stopped.tag == "mine cancelled"

    run(main)


def test_a_program_may_have_futures_of_its_own_class(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        base: Any = type(loop.create_future())

        class Counted(base):  # type: ignore[misc]
            told = 0

            def set_result(self, result: Any) -> None:
                self.told += 1
                super().set_result(result)

        future = Counted(loop=loop)
        loop.call_soon(future.set_result, 5)
        assert await future == 5
        assert future.told == 1
        stopped = Counted(loop=loop)
        waiting = asyncio.create_task(asyncio.wait_for(stopped, None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert stopped.cancelled()

    run(main)
