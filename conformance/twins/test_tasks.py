"""create_task and task factories: what is handed on, and eager tasks where Python has them."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from .support import Run

EAGER = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
EAGER_START = pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task(eager_start=) came with Python 3.14")


async def nothing() -> str:
    return "done"


def test_a_task_is_a_standard_one(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(nothing())
        assert isinstance(task, asyncio.Task)
        assert isinstance(task, asyncio.Future)
        assert task.get_loop() is loop
        assert task in asyncio.all_tasks()
        assert await task == "done"
        assert task not in asyncio.all_tasks()

    run(main)


def test_names(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        named, unnamed = loop.create_task(nothing(), name="mine"), loop.create_task(nothing())
        assert named.get_name() == "mine"
        assert unnamed.get_name().startswith("Task-")
        assert loop.create_task(nothing(), name=None).get_name().startswith("Task-")
        await asyncio.gather(named, unnamed)

    run(main)


def test_tasks_take_turns_in_the_order_of_making(run: Run) -> None:
    async def main() -> None:
        seen: list[tuple[int, int]] = []

        async def child(number: int) -> None:
            for step in range(3):
                seen.append((step, number))
                await asyncio.sleep(0)

        await asyncio.gather(*(child(number) for number in range(4)))
        assert seen == [(step, number) for step in range(3) for number in range(4)]

    run(main)


def test_current_task(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[object] = []

        async def child() -> None:
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())

        task = loop.create_task(child())
        loop.call_soon(lambda: seen.append(asyncio.current_task()))
        await task
        assert seen == [task, None, task]

    run(main)


class Factory:
    """A task factory that writes down exactly what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, object, dict[str, Any]]] = []

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **kwargs: Any
    ) -> asyncio.Task[Any]:
        self.calls.append((loop, coro, kwargs))
        return asyncio.Task(coro, loop=loop, **kwargs)


def test_set_and_get_the_factory(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.get_task_factory() is None
    factory = Factory()
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(5)  # type: ignore[arg-type]


def test_the_factory_makes_the_tasks(run: Run) -> None:
    async def main() -> None:
        loop, factory = asyncio.get_running_loop(), Factory()
        loop.set_task_factory(factory)
        coro = nothing()
        assert await loop.create_task(coro) == "done"
        assert factory.calls[0][:2] == (loop, coro)
        assert await asyncio.create_task(nothing()) == "done"
        async with asyncio.TaskGroup() as group:
            group.create_task(nothing())
        assert len(factory.calls) == 3

    run(main)


def test_the_factory_gets_exactly_the_keywords_that_were_given(run: Run) -> None:
    # asyncio has changed what it adds by itself: None of a keyword that nobody gave must not appear where asyncio
    # adds none. So compare with the standard loop's method, called with a stand-in for the loop.
    async def main() -> None:
        loop, factory = asyncio.get_running_loop(), Factory()
        loop.set_task_factory(factory)
        context = contextvars.copy_context()
        await loop.create_task(nothing())
        await loop.create_task(nothing(), name="mine")
        await loop.create_task(nothing(), context=context)
        await loop.create_task(nothing(), name="mine", context=context)
        given = [kwargs for _, _, kwargs in factory.calls]
        assert given == [
            expected(),
            expected(name="mine"),
            expected(context=context),
            expected(name="mine", context=context),
        ]

    def expected(**kwargs: Any) -> dict[str, Any]:
        """What asyncio's own loop hands on for these keywords."""
        standard, factory = asyncio.SelectorEventLoop(), Factory()

        class Stop(Exception):
            pass

        def raising(_loop: object, coro: Coroutine[Any, Any, Any], **given: Any) -> asyncio.Task[Any]:
            coro.close()
            factory.calls.append((None, coro, given))
            raise Stop

        standard.set_task_factory(raising)
        coro = nothing()
        with pytest.raises(Stop):
            standard.create_task(coro, **kwargs)
        coro.close()
        standard.close()
        return factory.calls[0][2]

    run(main)


def test_names_are_set_also_on_what_a_simple_factory_makes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **kwargs: asyncio.Task(coro, loop=loop, **kwargs))
        task = loop.create_task(nothing(), name="mine")
        assert task.get_name() == "mine"
        await task

    run(main)


def test_the_class_of_tasks_is_looked_up_when_needed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(asyncio.Task):  # type: ignore[type-arg]
        pass

    async def main() -> None:
        monkeypatch.setattr(asyncio.tasks, "Task", Mine)
        task = asyncio.get_running_loop().create_task(nothing())
        assert type(task) is Mine
        assert await task == "done"

    run(main)


def test_an_unknown_keyword_is_an_error(run: Run) -> None:
    async def main() -> None:
        coro = nothing()
        with pytest.raises(TypeError):
            asyncio.get_running_loop().create_task(coro, nonsense=1)  # type: ignore[call-arg]
        coro.close()

    run(main)


def test_a_task_of_what_is_no_coroutine_is_an_error(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            asyncio.get_running_loop().create_task(5)  # type: ignore[arg-type]

    run(main)


@EAGER
def test_the_eager_task_factory(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        seen: list[str] = []

        async def child() -> str:
            seen.append("begun")
            await asyncio.sleep(0)
            seen.append("ended")
            return "result"

        task = loop.create_task(child(), name="eager")
        assert seen == ["begun"]
        assert not task.done()
        assert task.get_name() == "eager"
        assert await task == "result"
        quick = loop.create_task(nothing())
        assert quick.done() and quick.result() == "done"

    run(main)


@EAGER
def test_an_eager_task_that_fails_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]

        async def child() -> None:
            raise ValueError("at once")

        task = loop.create_task(child())
        assert task.done()
        with pytest.raises(ValueError, match="at once"):
            await task
        assert asyncio.current_task() is not None

    run(main)


@EAGER_START
def test_eager_start(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert loop.create_task(nothing(), eager_start=True).done()  # type: ignore[call-arg]
        lazy = loop.create_task(nothing(), eager_start=False)  # type: ignore[call-arg]
        assert not lazy.done()
        await lazy
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        assert loop.create_task(nothing()).done()  # no None may switch the factory's choice off
        lazy = loop.create_task(nothing(), eager_start=False)  # type: ignore[call-arg]
        assert not lazy.done()
        await lazy

    run(main)


def test_cancelling(run: Run) -> None:
    async def main() -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError, match="because"):
            await task

    run(main)


def test_timeouts_and_wait_for(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        assert await asyncio.wait_for(nothing(), 5) == "done"

    run(main)


def test_the_eager_factory_s_tasks_are_asyncio_s_in_every_way(run: Run) -> None:
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        assert loop.get_task_factory() is asyncio.eager_task_factory
        outer, seen = asyncio.current_task(), []

        async def work(turns: int) -> object:
            seen.append(asyncio.current_task())
            for _ in range(turns):
                await asyncio.sleep(0)
            return asyncio.current_task()

        done = asyncio.create_task(work(0), name="done")
        assert isinstance(done, asyncio.Task)
        assert (done.done(), done.result(), done.get_name()) == (True, done, "done")
        assert done not in asyncio.all_tasks()
        pending = asyncio.create_task(work(3))
        assert asyncio.current_task() is outer
        assert pending in asyncio.all_tasks()
        assert await pending is pending
        assert seen == [done, pending]
        failed = asyncio.create_task(fail_at_once())
        with pytest.raises(ZeroDivisionError):
            await failed
        loop.set_task_factory(None)
        assert not asyncio.create_task(work(0)).done()
        await asyncio.sleep(0)

    run(main)


async def fail_at_once() -> None:
    raise ZeroDivisionError
