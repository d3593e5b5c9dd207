"""What our nurseries have beyond Trio's, and where asyncio shows through."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

import tepal


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_a_handle_has_the_result() -> None:
    async def main() -> None:
        async def double(number: int) -> int:
            await tepal.sleep(0)
            return 2 * number

        async with tepal.open_nursery() as nursery:
            tasks = [nursery.start_soon(double, number) for number in range(5)]
            assert await tasks[3] == 6
        assert [task.result() for task in tasks] == [0, 2, 4, 6, 8]

    tepal.run(main())


def test_one_task_may_be_cancelled_alone() -> None:
    async def main() -> None:
        async with tepal.open_nursery() as nursery:
            one = nursery.start_soon(forever)
            other = nursery.start_soon(tepal.sleep, 0, "done")
            await tepal.sleep(0)
            one.cancel()
        assert one.cancelled()
        assert other.result() == "done"

    tepal.run(main())


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_limit_holds_the_others_back(limit: int) -> None:
    async def main() -> None:
        running, most, order = 0, 0, []

        async def work(number: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            order.append(number)
            for _ in range(number % 3 + 1):
                await tepal.sleep(0)
            running -= 1

        async with tepal.open_nursery(limit=limit) as nursery:
            for number in range(20):
                nursery.start_soon(work, number)
            assert nursery.statistics().tasks == 20
        assert most == limit
        assert order == sorted(order)

    tepal.run(main())


def test_a_limited_nursery_that_is_cancelled_ends() -> None:
    async def main() -> None:
        begun = []

        async def work(number: int) -> None:
            begun.append(number)
            await forever()

        with tepal.move_on_after(0.01):
            async with tepal.open_nursery(limit=2) as nursery:
                for number in range(10):
                    nursery.start_soon(work, number)
        # All begin, and are ended where they first wait: nothing that was handed over is lost silently.
        assert begun == list(range(10))

    tepal.run(main())


def test_a_task_that_waits_for_room_may_be_cancelled() -> None:
    async def main() -> None:
        async with tepal.open_nursery(limit=1) as nursery:
            first = nursery.start_soon(tepal.sleep, 0.01)
            second = nursery.start_soon(forever)
            third = nursery.start_soon(tepal.sleep, 0, "third")
            second.cancel()
        assert first.done() and second.cancelled()
        assert third.result() == "third"

    tepal.run(main())


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_limit_is_at_least_one(wrong: int) -> None:
    with pytest.raises(ValueError, match="limit must be at least 1"):
        tepal.open_nursery(limit=wrong)


def test_names_and_contexts() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")

    async def main() -> None:
        async def read() -> tuple[str, str]:
            task = asyncio.current_task()
            assert task is not None
            return task.get_name(), variable.get()

        context = contextvars.copy_context()
        context.run(variable.set, "given")
        async with tepal.open_nursery() as nursery:
            variable.set("here")
            one = nursery.start_soon(read, name="one")
            other = nursery.start_soon(read, name="other", context=context)
            started: list[str] = []

            async def starts(*, task_status: tepal.TaskStatus[None]) -> None:
                task = asyncio.current_task()
                assert task is not None
                started.append(task.get_name())
                task_status.started()

            await nursery.start(starts, name="third")
        assert one.result() == ("one", "here")
        assert other.result() == ("other", "given")
        assert started == ["third"]

    tepal.run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["block", "child"])
def test_what_ends_the_program_arrives_alone(error: type[BaseException], where: str) -> None:
    async def main() -> None:
        async def raises() -> None:
            raise error

        async with tepal.open_nursery() as nursery:
            nursery.start_soon(forever)
            if where == "block":
                raise error
            nursery.start_soon(raises)

    with pytest.raises(error):
        tepal.run(main())


def test_a_request_for_the_parent_ends_the_children_and_goes_on() -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            try:
                await forever()
            except tepal.Cancelled:
                ended.append("child")
                raise

        async def body() -> None:
            async with tepal.open_nursery() as nursery:
                nursery.start_soon(child)

        task = asyncio.create_task(body())
        for _ in range(3):
            await tepal.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["child"]
        assert task.cancelled() and task.cancelling() == 1

    tepal.run(main())


def test_a_request_and_errors_together() -> None:
    async def main() -> None:
        async def child() -> None:
            try:
                await forever()
            finally:
                raise KeyError

        heard = []

        async def body() -> None:
            try:
                async with tepal.open_nursery() as nursery:
                    nursery.start_soon(child)
            except* KeyError:
                heard.append("error")
            try:
                await tepal.sleep(0)
            except asyncio.CancelledError:
                heard.append("request")
                raise

        task = asyncio.create_task(body())
        for _ in range(3):
            await tepal.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert heard == ["error", "request"]
        assert task.cancelling() == 1

    tepal.run(main())


def test_an_error_that_the_block_awaits_arrives_once() -> None:
    async def main() -> None:
        async def fails() -> None:
            raise KeyError

        with pytest.raises(ExceptionGroup) as caught:
            async with tepal.open_nursery() as nursery:
                await nursery.start_soon(fails)
        assert [type(error) for error in caught.value.exceptions] == [KeyError]

    tepal.run(main)


def test_an_error_in_an_async_generator_that_is_closed_is_not_lost() -> None:
    # What happened to anyio's and asyncio's users: the error of a task in a generator's group vanished in `aclose`.
    async def main() -> None:
        async def fails() -> None:
            raise KeyError("lost?")

        async def numbers() -> AsyncIterator[int]:
            async with tepal.open_nursery() as nursery:
                yield 1
                nursery.start_soon(fails)
                yield 2

        iterator = numbers()
        assert await anext(iterator) == 1
        assert await anext(iterator) == 2
        await tepal.sleep(0)
        with pytest.raises(BaseExceptionGroup) as caught:
            await iterator.aclose()  # type: ignore[attr-defined]
        assert caught.value.subgroup(KeyError) is not None

    tepal.run(main())


def test_a_generator_that_is_closed_well() -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            try:
                await forever()
            finally:
                ended.append("child")

        async def numbers() -> AsyncIterator[int]:
            async with tepal.open_nursery() as nursery:
                nursery.start_soon(child)
                await tepal.sleep(0)
                yield 1

        iterator = numbers()
        assert await anext(iterator) == 1
        await iterator.aclose()  # type: ignore[attr-defined]
        assert ended == ["child"]

    tepal.run(main())


def test_an_abandoned_nursery_tells_of_its_errors() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _loop, context: told.append(context))

        async def fails(event: tepal.Event) -> None:
            with tepal.shield():
                await event.wait()
            raise KeyError

        async def opens(event: tepal.Event) -> None:
            nursery = tepal.open_nursery()
            await nursery.__aenter__()
            nursery.start_soon(fails, event)

        event = tepal.Event()
        await asyncio.create_task(opens(event))
        event.set()
        for _ in range(4):
            await tepal.sleep(0)
        gc.collect()
        assert any(isinstance(context.get("exception"), KeyError) for context in told)

    tepal.run(main())


def test_it_says_how_it_stands() -> None:
    async def main() -> None:
        nursery = tepal.open_nursery()
        assert nursery.statistics() == (0, 0, False)
        with pytest.raises(RuntimeError, match="has not been entered"):
            nursery.start_soon(forever)
        async with nursery:
            nursery.start_soon(forever)
            assert nursery.statistics() == tepal.NurseryStatistics(tasks=1, errors=0, cancelling=False)
            assert repr(nursery) == "<tepal.Nursery tasks=1 errors=0>"
            nursery.cancel_scope.cancel()
            assert repr(nursery) == "<tepal.Nursery tasks=1 errors=0 cancelling>"
        with pytest.raises(RuntimeError, match="single 'async with' block"):
            await nursery.__aenter__()

    tepal.run(main())


def test_it_needs_a_loop_of_ours() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="tepal's event loops only"):
            async with tepal.open_nursery():
                pass
        with pytest.raises(RuntimeError, match="tepal's event loops only"), tepal.CancelScope():
            pass

    asyncio.run(main())


def test_a_callback_is_no_task() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[None] = loop.create_future()

        def callback() -> None:
            try:
                with tepal.CancelScope():
                    pass
            except RuntimeError as error:
                outcome.set_exception(error)

        loop.call_soon(callback)
        with pytest.raises(RuntimeError, match="entered by a task"):
            await outcome

    tepal.run(main())
