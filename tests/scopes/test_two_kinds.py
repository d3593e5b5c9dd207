"""A scope's cancellation and asyncio's, side by side: neither swallows the other, neither leaks. DESIGN.md has the table.

Each cell is run with a task of ours and with one of asyncio's own as the host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tepal

Body = Callable[[], Coroutine[Any, Any, Any]]
Host = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


@pytest.fixture(params=["ours", "asyncio's"])
def host(request: pytest.FixtureRequest) -> Host:
    """Makes the task that a cell is about."""
    if request.param == "ours":
        return lambda coro: asyncio.get_running_loop().create_task(coro)
    return lambda coro: asyncio.tasks._CTask(coro, loop=asyncio.get_running_loop())  # type: ignore[attr-defined]


def run(main: Body) -> Any:
    return tepal.run(main())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("order", ["request", "request, scope", "scope, request"])
def test_a_request_passes_the_scope(host: Host, order: str) -> None:
    async def main() -> None:
        scope = tepal.CancelScope()

        async def body() -> None:
            with scope:
                await forever()

        task = host(body())
        await turns()
        for step in order.split(", "):
            if step == "request":
                task.cancel()
            else:
                scope.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1
        assert not scope.cancelled_caught

    run(main)


def test_a_scope_leaves_no_trace_in_the_task(host: Host) -> None:
    async def main() -> None:
        async def body() -> str:
            task = asyncio.current_task()
            assert task is not None
            with tepal.CancelScope() as scope:
                asyncio.get_running_loop().call_soon(scope.cancel)
                try:
                    await forever()
                finally:
                    assert task.cancelling() == 0
            assert scope.cancelled_caught
            assert task.cancelling() == 0
            await turns()
            return "on"

        assert await host(body()) == "on"

    run(main)


def test_a_request_in_clean_up_arrives(host: Host) -> None:
    async def main() -> None:
        scope = tepal.CancelScope()
        seen = []

        async def body() -> None:
            with scope:
                try:
                    await forever()
                finally:
                    with tepal.shield():
                        try:
                            await forever()
                        except tepal.Cancelled:
                            seen.append("scope")
                        except asyncio.CancelledError:
                            seen.append("request")
                            raise

        task = host(body())
        await turns()
        scope.cancel()
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["request"]

    run(main)


def test_a_request_that_came_late_is_heard_behind_the_scope(host: Host) -> None:
    async def main() -> None:
        seen = []

        async def body() -> None:
            task = asyncio.current_task()
            assert task is not None
            with tepal.CancelScope() as scope:
                scope.cancel()
                try:
                    await forever()
                finally:
                    task.cancel()  # and no wait any more
            seen.append(scope.cancelled_caught)
            await forever()

        task = host(body())
        with pytest.raises(asyncio.CancelledError):
            await task
        # (A task of asyncio's own cannot tell the two apart: with a request on it the cancellation goes on.)
        assert seen in ([True], [])

    run(main)


@pytest.mark.parametrize("scope_too", [False, True])
def test_a_timeout_inside_a_scope(host: Host, scope_too: bool) -> None:
    async def main() -> None:
        async def body() -> list[str]:
            seen = []
            with tepal.CancelScope() as scope:
                try:
                    async with asyncio.timeout(None) as limit:
                        limit.reschedule(asyncio.get_running_loop().time())
                        if scope_too:
                            asyncio.get_running_loop().call_soon(scope.cancel)
                        await forever()
                except TimeoutError:
                    seen.append("timeout")
                await turns()
                seen.append("on")
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0
            assert scope.cancelled_caught is scope_too
            return seen

        assert await host(body()) == (["timeout"] if scope_too else ["timeout", "on"])

    run(main)


@pytest.mark.parametrize("expires", [False, True])
@pytest.mark.parametrize("cancels", [False, True])
def test_a_timeout_around_a_scope(host: Host, expires: bool, cancels: bool) -> None:
    async def main() -> None:
        async def body() -> str:
            loop = asyncio.get_running_loop()
            scope = tepal.CancelScope()
            try:
                async with asyncio.timeout(None) as limit:
                    with scope:
                        if expires:
                            limit.reschedule(loop.time())
                        if cancels:
                            loop.call_soon(scope.cancel)
                        if expires or cancels:
                            await forever()
                    await turns()
            except TimeoutError:
                outcome = "timeout"
            else:
                outcome = "on"
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0
            assert limit.expired() is expires
            assert scope.cancelled_caught is (cancels and not expires)
            return outcome

        assert await host(body()) == ("timeout" if expires else "on")

    run(main)


@pytest.mark.parametrize("group_class", [asyncio.TaskGroup, tepal.TaskGroup])
def test_a_task_group_inside_a_scope(host: Host, group_class: type[asyncio.TaskGroup]) -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            try:
                await forever()
            finally:
                ended.append("child")

        async def body() -> None:
            with tepal.CancelScope() as scope:
                async with group_class() as group:
                    group.create_task(child())
                    group.create_task(child())
                    await turns()
                    scope.cancel()
                    await forever()
            assert scope.cancelled_caught
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0
            await turns()

        await host(body())
        assert ended == ["child", "child"]

    run(main)


@pytest.mark.parametrize("group_class", [asyncio.TaskGroup, tepal.TaskGroup])
@pytest.mark.parametrize("cancels", [False, True])
def test_a_task_group_around_a_scope(host: Host, group_class: type[asyncio.TaskGroup], cancels: bool) -> None:
    async def main() -> None:
        async def fail() -> None:
            raise KeyError

        async def body() -> None:
            scope = tepal.CancelScope()
            with pytest.raises(ExceptionGroup) as caught:
                async with group_class() as group:
                    with scope:
                        group.create_task(fail())
                        if cancels:
                            asyncio.get_running_loop().call_soon(scope.cancel)
                        await forever()
                    await forever()
            assert [type(error) for error in caught.value.exceptions] == [KeyError]
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0
            await turns()

        await host(body())

    run(main)


@pytest.mark.parametrize("group_class", [asyncio.TaskGroup, tepal.TaskGroup])
def test_the_tasks_of_a_group_are_not_the_scopes(host: Host, group_class: type[asyncio.TaskGroup]) -> None:
    # Its tasks are the group's: a scope reaches them through the block alone, and a shield inside the block is theirs, too.
    async def main() -> None:
        async def child() -> tepal.CancelScope | None:
            return tepal.current_scope()

        async def body() -> None:
            with tepal.CancelScope():
                async with group_class() as group:
                    task = group.create_task(child())
            assert task.result() is None

        await host(body())

    run(main)


def test_the_count_of_requests_is_asyncios(host: Host) -> None:
    async def main() -> None:
        async def body() -> None:
            task = asyncio.current_task()
            assert task is not None
            with tepal.CancelScope() as scope:
                scope.cancel()
                with pytest.raises(tepal.Cancelled):
                    await forever()
                assert task.cancelling() == 0
                task.cancel()
                assert task.cancelling() == 1
                with pytest.raises(asyncio.CancelledError):
                    await forever()
                assert task.uncancel() == 0
            assert task.cancelling() == 0
            await turns()

        await asyncio.get_running_loop().create_task(body())

    run(main)


def test_code_that_makes_the_cancellation_anew(host: Host) -> None:
    async def main() -> None:
        async def body() -> None:
            with tepal.CancelScope() as scope:
                scope.cancel()
                try:
                    await forever()
                except asyncio.CancelledError:
                    raise asyncio.CancelledError from None
            assert scope.cancelled_caught

        await host(body())

    run(main)


def test_a_future_that_somebody_cancelled_passes_a_scope_that_is_not(host: Host) -> None:
    async def main() -> None:
        async def body() -> None:
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.cancel)
            with tepal.CancelScope() as scope:
                with pytest.raises(asyncio.CancelledError) as caught:
                    await future
                assert type(caught.value) is asyncio.CancelledError
            assert not scope.cancelled_caught

        await host(body())

    run(main)


@pytest.mark.parametrize("way", ["task", "gather", "wait_for", "shield", "wait", "timeout"])
def test_what_asyncio_waits_for_in_a_scope(host: Host, way: str) -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            try:
                await forever()
            finally:
                ended.append("child")

        async def body() -> asyncio.Task[None]:
            task = asyncio.get_running_loop().create_task(child())
            await turns()
            with tepal.CancelScope() as scope:
                asyncio.get_running_loop().call_soon(scope.cancel)
                if way == "task":
                    await task
                elif way == "gather":
                    await asyncio.gather(task, forever())
                elif way == "wait_for":
                    await asyncio.wait_for(task, 10)
                elif way == "shield":
                    await asyncio.shield(task)
                elif way == "wait":
                    await asyncio.wait([task])
                else:
                    async with asyncio.timeout(10):
                        await task
            assert scope.cancelled_caught
            return task

        task = await host(body())
        await turns()
        lives = way in ("shield", "wait")
        assert task.done() is not lives
        assert ended == ([] if lives else ["child"])
        task.cancel()
        await turns()

    run(main)


def test_an_error_of_what_was_awaited_goes_before_the_cancellation(host: Host) -> None:
    async def main() -> None:
        async def child() -> None:
            try:
                await forever()
            finally:
                raise KeyError

        async def body() -> None:
            task = asyncio.get_running_loop().create_task(child())
            await turns()
            with pytest.raises(KeyError):
                with tepal.CancelScope() as scope:
                    asyncio.get_running_loop().call_soon(scope.cancel)
                    await task
            assert not scope.cancelled_caught

        await host(body())

    run(main)


def test_a_task_of_asyncios_own_is_told_again_and_again() -> None:
    async def main() -> None:
        seen = []

        async def body() -> None:
            with tepal.CancelScope() as scope:
                scope.cancel()
                for _ in range(3):
                    with pytest.raises(asyncio.CancelledError):
                        await forever()
                    seen.append("forever")
                    with pytest.raises(asyncio.CancelledError):
                        for _ in range(100):
                            await asyncio.sleep(0)
                    seen.append("yields")
                await forever()
            assert scope.cancelled_caught

        await asyncio.tasks._CTask(body(), loop=asyncio.get_running_loop())  # type: ignore[attr-defined]
        assert seen == ["forever", "yields"] * 3

    run(main)


def test_a_child_of_asyncios_own_in_a_nursery() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(
            lambda loop, coro, **keywords: asyncio.tasks._CTask(coro, loop=loop, **keywords)  # type: ignore[attr-defined]
        )
        ended = []

        async def child() -> int:
            try:
                await forever()
            except asyncio.CancelledError:
                ended.append(tepal.current_effective_deadline())
                raise
            return 1

        async def quick() -> int:
            return 2

        async with tepal.open_nursery() as nursery:
            tasks = [nursery.start_soon(child), nursery.start_soon(quick)]
            assert not isinstance(tasks[0], tepal.Task)
            await turns()
            nursery.cancel_scope.cancel()
        assert ended == [float("-inf")]
        assert tasks[0].cancelled()
        assert tasks[1].result() == 2

    run(main)
