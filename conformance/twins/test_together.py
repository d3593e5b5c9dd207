"""Waiting for several things at once: one body, on asyncio's functions with asyncio's loop and on tepal's with tepal's loop."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import Any

import pytest

import tepal

from .support import Run


async def give(value: Any, turns: int = 0) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def fail(error: BaseException, turns: int = 0) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    raise error


async def resist(turns: int) -> str:
    """Take cancellation for a request to end soon."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await give(None, turns)
    return "resisted"


def foreign(value: Any) -> asyncio.Future[Any]:
    """A future of the interpreter's own type."""
    future: asyncio.Future[Any] = asyncio.Future(loop=asyncio.get_running_loop())
    future.get_loop().call_soon(future.set_result, value)
    return future


# --- gather ---------------------------------------------------------------------------------------------------------------


def test_gathered_results_stand_in_the_order_of_the_arguments(run: Run, kit: Any) -> None:
    async def main() -> None:
        assert await kit.gather() == []
        assert await kit.gather(give(1, 3), give(2), foreign(3), asyncio.create_task(give(4, 1))) == [1, 2, 3, 4]
        assert await kit.gather(*(give(number, number % 7) for number in range(100))) == list(range(100))

    run(main)


@pytest.mark.parametrize("others", [0, 20], ids=["few", "many"])
def test_what_is_gathered_twice_runs_once(run: Run, kit: Any, others: int) -> None:
    async def main() -> None:
        one = give("one")
        future = asyncio.get_running_loop().create_future()
        future.set_result("done")
        more = [give(number) for number in range(others)]
        assert await kit.gather(one, future, one, future, *more) == ["one", "done", "one", "done", *range(others)]

    run(main)


def test_the_first_error_arrives_at_once_and_the_others_go_on(run: Run, kit: Any) -> None:
    async def main() -> None:
        slow = asyncio.create_task(give("slow", 5))
        late = asyncio.create_task(fail(KeyError("late"), 4))
        with pytest.raises(ValueError, match="first"):
            await kit.gather(slow, fail(ValueError("first"), 1), late)
        assert not slow.done()
        assert await slow == "slow"
        assert late.done()
        del late
        gc.collect()  # its error counts as seen

    run(main)


def test_errors_can_be_results(run: Run, kit: Any) -> None:
    async def main() -> None:
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel("why")
        one, two, three = await kit.gather(give(1), fail(ValueError(2)), cancelled, return_exceptions=True)
        assert one == 1
        assert repr(two) == "ValueError(2)"
        assert type(three) is asyncio.CancelledError
        assert three.args == ("why",)

    run(main)


def test_a_cancelled_child_is_an_error_like_others(run: Run, kit: Any) -> None:
    async def main() -> None:
        child = asyncio.create_task(give(1, 9))
        gathered = kit.gather(child, give(2))
        child.cancel("child")
        with pytest.raises(asyncio.CancelledError):
            await gathered
        assert not gathered.cancelled()
        assert isinstance(gathered.exception(), asyncio.CancelledError)

    run(main)


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_cancelling_the_whole_cancels_the_children(run: Run, kit: Any, return_exceptions: bool) -> None:
    async def main() -> None:
        one, two = asyncio.create_task(give(1, 9)), asyncio.create_task(resist(2))
        gathered = kit.gather(one, two, foreign(3), return_exceptions=return_exceptions)

        async def wait() -> None:
            await gathered

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert waiting.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert one.cancelled()
        assert gathered.done()
        assert not gathered.cancel()
        assert await two == "resisted"

    run(main)


def test_a_whole_without_pending_children_cannot_be_cancelled(run: Run, kit: Any) -> None:
    async def main() -> None:
        done = asyncio.get_running_loop().create_future()
        done.set_result(1)
        gathered = kit.gather(done)
        if not gathered.done():
            assert not gathered.cancel()
        assert await gathered == [1]

    run(main)


def test_gather_refuses_what_cannot_be_awaited(run: Run, kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="awaitable"):
            kit.gather(1)
        other = asyncio.SelectorEventLoop()
        elsewhere = other.create_future()
        with pytest.raises(ValueError, match="different loop"):
            kit.gather(foreign(1), elsewhere)
        other.close()

    run(main)


def test_gathered_awaitables_may_be_of_any_kind(run: Run, kit: Any) -> None:
    class Thing:
        def __await__(self) -> Any:
            return give("thing").__await__()

    async def main() -> None:
        assert await kit.gather(Thing(), kit.gather(give(1), give(2)), kit.shield(give(3))) == ["thing", [1, 2], 3]

    run(main)


def test_gather_makes_its_tasks_by_the_loop(run: Run, kit: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = []

        def factory(loop: Any, coro: Any, **keywords: Any) -> Any:
            made.append(coro.__name__)
            return asyncio.Task(coro, loop=loop, **keywords)

        loop.set_task_factory(factory)
        assert await kit.gather(give(1), give(2)) == [1, 2]
        async with kit.TaskGroup() as group:
            group.create_task(give(3))
        loop.set_task_factory(None)
        assert made == ["give"] * 3

        create_task = loop.create_task

        def patched(coro: Any, **keywords: Any) -> Any:
            made.append("patched")
            return create_task(coro, **keywords)

        loop.create_task = patched  # type: ignore[method-assign]
        assert await kit.gather(give(1), give(2)) == [1, 2]
        async with kit.TaskGroup() as group:
            group.create_task(give(3))
        del loop.create_task
        assert made[3:] == ["patched"] * 3
        assert await kit.gather(give(1)) == [1]
        assert len(made) == 6

    run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_all_of_it_holds_in_debug_mode(run: Run, kit: Any, debug: bool) -> None:
    async def main() -> None:
        assert await kit.gather(give(1, 1), kit.shield(give(2))) == [1, 2]
        done, _ = await kit.wait([asyncio.create_task(give(3))])
        assert {task.result() for task in done} == {3}
        async with kit.TaskGroup() as group:
            task = group.create_task(give(4))
        assert task.result() == 4

    run(main, debug=debug)


# --- wait -----------------------------------------------------------------------------------------------------------------


def test_wait_ends_when_it_is_told_to(run: Run, kit: Any) -> None:
    async def main() -> None:
        def three() -> list[asyncio.Task[Any]]:
            return [asyncio.create_task(one) for one in (give(1), fail(ValueError(2), 2), give(3, 4))]

        tasks = three()
        assert await kit.wait(tasks) == (set(tasks), set())
        first, second, third = three()
        assert await kit.wait([first, second, third], return_when=asyncio.FIRST_COMPLETED) == ({first}, {second, third})
        assert await kit.wait([first, second, third], return_when=asyncio.FIRST_EXCEPTION) == ({first, second}, {third})
        assert await kit.wait({third}, timeout=0.001) in (({third}, set()), (set(), {third}))
        never = asyncio.get_running_loop().create_future()
        assert (await kit.wait([never, foreign(1)], timeout=0.01))[1] == {never}
        assert never not in (await kit.wait([never], timeout=0))[0]
        assert [str(task.exception()) for task in (tasks[1], second)] == ["2", "2"]

    run(main)


def test_wait_objects_as_asyncio_does(run: Run, kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="empty"):
            await kit.wait([])
        with pytest.raises(ValueError, match="return_when"):
            await kit.wait([foreign(1)], return_when="now")
        with pytest.raises(TypeError, match="expect a list of futures, not "):
            await kit.wait(foreign(1))
        coroutine = give(1)
        with pytest.raises(TypeError, match="oroutines is forbidden"):
            await kit.wait([coroutine])
        coroutine.close()

    run(main)


def test_a_cancelled_wait_leaves_the_futures_alone(run: Run, kit: Any) -> None:
    async def main() -> None:
        never = [asyncio.get_running_loop().create_future(), asyncio.Future()]
        waiting = asyncio.create_task(kit.wait(never, timeout=60))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert [future.done() for future in never] == [False, False]
        assert not any(future._callbacks for future in never)

    run(main)


# --- shield ---------------------------------------------------------------------------------------------------------------


def test_a_shielded_task_survives_who_waits_for_it(run: Run, kit: Any) -> None:
    async def main() -> None:
        inner = asyncio.create_task(give("inner", 5))
        waiting = asyncio.create_task(asyncio.wait_for(kit.shield(inner), None))
        await give(None, 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not inner.done()
        assert await inner == "inner"
        assert kit.shield(inner) is inner

    run(main)


def test_a_shield_passes_on_how_the_inner_ends(run: Run, kit: Any) -> None:
    async def main() -> None:
        assert await kit.shield(give(1, 2)) == 1
        with pytest.raises(ValueError, match="2"):
            await kit.shield(fail(ValueError(2), 1))
        inner = asyncio.create_task(give(3, 9))
        outer = kit.shield(inner)
        await asyncio.sleep(0)
        inner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert outer.cancelled()
        with pytest.raises(TypeError):
            kit.shield(1)

    run(main)


# --- as_completed ---------------------------------------------------------------------------------------------------------


def test_what_ends_first_comes_first(run: Run, kit: Any) -> None:
    async def main() -> None:
        found = [await one for one in kit.as_completed([give(number, number) for number in (3, 1, 2)])]
        assert found == [1, 2, 3]
        with pytest.raises(TypeError):
            next(kit.as_completed(foreign(1)))  # up to Python 3.12 asyncio objects when it is asked for the first
        failing = kit.as_completed([fail(ValueError(1)), give(2, 2)])
        with pytest.raises(ValueError, match="1"):
            await next(failing)
        assert await next(failing) == 2
        with pytest.raises(StopIteration):
            next(failing)

    run(main)


def test_what_is_given_comes_back_from_the_asynchronous_iteration(run: Run, kit: Any) -> None:
    if sys.version_info < (3, 13) and kit is not tepal:
        pytest.skip("asyncio has it from Python 3.13 on")

    async def main() -> None:
        tasks = [asyncio.create_task(give(number, number)) for number in (3, 1, 2)]
        found = [task async for task in kit.as_completed([*tasks, give(4, 9)])]
        assert found[:3] == [tasks[1], tasks[2], tasks[0]]
        assert found[3].result() == 4

    run(main)


def test_the_time_of_as_completed_is_that_of_all(run: Run, kit: Any) -> None:
    async def main() -> None:
        never = asyncio.get_running_loop().create_future()
        waiting = kit.as_completed([give(1), never], timeout=0.001)
        assert await next(waiting) == 1
        with pytest.raises(TimeoutError):
            await next(waiting)
        assert not never.done()
        assert not never._callbacks

    run(main)


# --- TaskGroup ------------------------------------------------------------------------------------------------------------


def test_a_group_waits_for_its_tasks(run: Run, kit: Any) -> None:
    async def main() -> None:
        async with kit.TaskGroup() as group:
            tasks = [group.create_task(give(number, number), name=f"number {number}") for number in range(5)]
            assert "tasks=5 entered" in repr(group)
        assert [task.result() for task in tasks] == list(range(5))
        assert tasks[3].get_name() == "number 3"
        assert isinstance(group, asyncio.TaskGroup)
        refused = give(1)
        with pytest.raises(RuntimeError, match="is finished"):
            group.create_task(refused)
        refused.close()  # up to Python 3.12 it is still the caller's
        with pytest.raises(RuntimeError, match="has already been entered"):
            await group.__aenter__()
        refused = give(1)
        with pytest.raises(RuntimeError, match="has not been entered"):
            kit.TaskGroup().create_task(refused)
        refused.close()

    run(main)


def test_tasks_of_a_group_may_make_more(run: Run, kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def grow(depth: int) -> None:
            seen.append(depth)
            if depth:
                group.create_task(grow(depth - 1))
                group.create_task(grow(depth - 1))

        async with kit.TaskGroup() as group:
            group.create_task(grow(4))
        assert len(seen) == 31

    run(main)


def test_the_errors_of_a_group_arrive_together(run: Run, kit: Any) -> None:
    async def main() -> None:
        ended = []

        async def clean() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append("cleaned")
                raise KeyError("cleaning")

        with pytest.raises(ExceptionGroup, match="unhandled errors in a TaskGroup") as raised:
            async with kit.TaskGroup() as group:
                group.create_task(clean())
                group.create_task(fail(ValueError(1), 2))
                try:
                    await asyncio.sleep(3600)
                finally:
                    ended.append("body")
        assert sorted(map(repr, raised.value.exceptions)) == ["KeyError('cleaning')", "ValueError(1)"]
        assert sorted(ended) == ["body", "cleaned"]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_the_error_of_the_block_is_among_them(run: Run, kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            async with kit.TaskGroup() as group:
                task = group.create_task(give(1, 50))
                raise ValueError("block")
        assert [repr(one) for one in raised.value.exceptions] == ["ValueError('block')"]
        assert task.cancelled()

    run(main)


@pytest.mark.parametrize("place", ["block", "end"])
def test_a_group_is_cancelled_from_outside(run: Run, kit: Any, place: str) -> None:
    async def main() -> None:
        ended = []

        async def grouped() -> None:
            async with kit.TaskGroup() as group:
                ended.append(group.create_task(resist(3)))
                if place == "block":
                    await asyncio.sleep(3600)

        task = asyncio.create_task(grouped())
        await give(None, 3)
        task.cancel("outside")
        await asyncio.sleep(0)
        task.cancel("again")  # the group is ending already, and goes on to wait
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended[0].result() == "resisted"

    run(main)


def test_a_group_is_cancelled_by_itself(run: Run, kit: Any) -> None:
    if not hasattr(kit.TaskGroup, "cancel"):
        pytest.skip("asyncio has it from Python 3.15 on")

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with kit.TaskGroup() as group:
            one = group.create_task(asyncio.sleep(3600))
            asyncio.get_running_loop().call_soon(group.cancel)
            await asyncio.sleep(3600)
        assert one.cancelled()
        assert task.cancelling() == 0
        group.cancel()  # too late to matter

        early = kit.TaskGroup()
        early.cancel()
        async with early:
            await asyncio.sleep(3600)

        with pytest.raises(ExceptionGroup):
            async with kit.TaskGroup() as group:
                group.create_task(resist(1)).add_done_callback(lambda _: None)
                group.cancel()
                group.cancel()
                raise ValueError("block")
        async with kit.TaskGroup() as outer, kit.TaskGroup() as inner:
            outer.create_task(give(1))
            inner.cancel()
            await asyncio.sleep(3600)
        await asyncio.sleep(0)

    run(main)


def test_a_group_leaves_nothing_behind(run: Run, kit: Any) -> None:
    """No cycles: what a group held goes without the collector."""

    class Thing:
        pass

    async def main() -> None:
        async def hold(thing: Thing) -> Thing:
            await asyncio.sleep(0)
            return thing

        gc.disable()
        try:
            thing = Thing()
            gone = weakref.ref(thing)
            async with kit.TaskGroup() as group:
                group.create_task(hold(thing))
            await kit.gather(hold(thing), hold(thing))
            await kit.wait([asyncio.create_task(hold(thing))])
            await kit.shield(hold(thing))
            del thing
            for _ in range(3):
                await asyncio.sleep(0)
            assert gone() is None
        finally:
            gc.enable()

    run(main)
