"""Nurseries: joining, errors, and what may begin when."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest


def flat(group: BaseException) -> list[str]:
    """The names of all errors in a group, sorted."""
    if isinstance(group, BaseExceptionGroup):
        return sorted(name for error in group.exceptions for name in flat(error))
    return [type(group).__name__]


async def fail(error: type[BaseException]) -> None:
    raise error


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_block_waits_for_all(kit: Any, count: int) -> None:
    async def main() -> None:
        done = []

        async def child(seconds: float) -> None:
            await kit.sleep(seconds)
            done.append(seconds)

        async with kit.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(child, number / 2)
        assert done == [number / 2 for number in range(count)]

    kit.run(main)


def test_arguments_are_passed(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(*arguments: object) -> None:
            seen.append(arguments)

        async with kit.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child, 1)
            nursery.start_soon(child, 1, "two", None, name="child")
        assert sorted(seen, key=len) == [(), (1,), (1, "two", None)]

    kit.run(main)


@pytest.mark.parametrize("error", [KeyError, ValueError, OSError])
@pytest.mark.parametrize("where", ["child", "block"])
def test_one_error_arrives_in_a_group(kit: Any, error: type[Exception], where: str) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery() as nursery:
                if where == "block":
                    raise error
                nursery.start_soon(fail, error)
        assert flat(caught.value) == [error.__name__]

    kit.run(main)


def test_errors_of_a_child_and_of_the_block_arrive_together(kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(fail, KeyError)
                raise ValueError
        assert flat(caught.value) == ["KeyError", "ValueError"]

    kit.run(main)


@pytest.mark.parametrize("count", [2, 5])
def test_errors_of_several_children_arrive_together(kit: Any, count: int) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(fail, KeyError)
        assert flat(caught.value) == ["KeyError"] * count

    kit.run(main)


def test_a_child_that_fails_ends_the_others_and_the_block(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def waits() -> None:
            try:
                await kit.sleep_forever()
            except kit.Cancelled:
                seen.append("child")
                raise

        with pytest.raises(ExceptionGroup):
            async with kit.open_nursery() as nursery:
                nursery.start_soon(waits)
                nursery.start_soon(fail, KeyError)
                try:
                    await kit.sleep_forever()
                except kit.Cancelled:
                    seen.append("block")
                    raise
        assert sorted(seen) == ["block", "child"]

    kit.run(main)


def test_a_block_that_fails_ends_the_children(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def waits() -> None:
            try:
                await kit.sleep_forever()
            finally:
                seen.append("ended")

        with pytest.raises(ExceptionGroup):
            async with kit.open_nursery() as nursery:
                nursery.start_soon(waits)
                await kit.checkpoint()
                raise KeyError
        assert seen == ["ended"]

    kit.run(main)


def test_an_error_in_clean_up_is_not_lost(kit: Any) -> None:
    async def main() -> None:
        async def cleans() -> None:
            try:
                await kit.sleep_forever()
            finally:
                raise ValueError

        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(cleans)
                await kit.checkpoint()
                nursery.start_soon(fail, KeyError)
        assert flat(caught.value) == ["KeyError", "ValueError"]

    kit.run(main)


def test_an_error_in_clean_up_alone_is_not_lost(kit: Any) -> None:
    async def main() -> None:
        async def cleans() -> None:
            try:
                await kit.sleep_forever()
            finally:
                raise ValueError

        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(cleans)
                await kit.checkpoint()
                nursery.cancel_scope.cancel()
        assert flat(caught.value) == ["ValueError"]

    kit.run(main)


def test_nested_groups_keep_their_shape(kit: Any) -> None:
    async def main() -> None:
        async def inner() -> None:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(fail, KeyError)

        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(inner)
        (group,) = caught.value.exceptions
        assert isinstance(group, ExceptionGroup)
        assert [type(error) for error in group.exceptions] == [KeyError]

    kit.run(main)


def test_a_child_may_spawn_siblings_after_the_block(kit: Any) -> None:
    async def main() -> None:
        done = []

        async def sibling() -> None:
            await kit.sleep(1)
            done.append("sibling")

        async def child(nursery: Any) -> None:
            await kit.sleep(1)
            nursery.start_soon(sibling)
            done.append("child")

        async with kit.open_nursery() as nursery:
            nursery.start_soon(child, nursery)
        assert done == ["child", "sibling"]

    kit.run(main)


def test_a_closed_nursery_takes_no_more(kit: Any) -> None:
    async def main() -> None:
        async with kit.open_nursery() as nursery:
            pass
        with pytest.raises(RuntimeError, match="Nursery is closed to new arrivals"):
            nursery.start_soon(kit.checkpoint)
        with pytest.raises(RuntimeError, match="Nursery is closed to new arrivals"):
            await nursery.start(kit.checkpoint)

    kit.run(main)


def test_a_cancelled_nursery_takes_more_and_ends_them(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child() -> None:
            seen.append("begun")
            await kit.sleep_forever()

        async with kit.open_nursery() as nursery:
            nursery.cancel_scope.cancel()
            nursery.start_soon(child)
        assert seen == ["begun"]

    kit.run(main)


def test_cancelling_a_nursery_is_no_error(kit: Any) -> None:
    async def main() -> None:
        async with kit.open_nursery() as nursery:
            nursery.start_soon(kit.sleep_forever)
            await kit.checkpoint()
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught

    kit.run(main)


def test_a_deadline_on_the_nurserys_scope(kit: Any) -> None:
    async def main() -> None:
        begun = kit.current_time()
        async with kit.open_nursery() as nursery:
            nursery.cancel_scope.deadline = begun + 1
            nursery.start_soon(kit.sleep_forever)
        assert kit.current_time() - begun == pytest.approx(1, abs=0.2)

    kit.run(main)


def test_the_wait_for_children_is_broken_off_once(kit: Any) -> None:
    # The children are told, and the block waits for them, however long they take.
    async def main() -> None:
        begun = kit.current_time()

        async def slow() -> None:
            try:
                await kit.sleep_forever()
            finally:
                with kit.CancelScope(shield=True):
                    await kit.sleep(3)

        with kit.move_on_after(1) as scope:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(slow)
        assert scope.cancelled_caught
        assert kit.current_time() - begun == pytest.approx(4, abs=0.3)

    kit.run(main)


def test_errors_reach_the_outermost_of_three(kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery():
                async with kit.open_nursery():
                    async with kit.open_nursery() as nursery:
                        nursery.start_soon(fail, KeyError)
        assert flat(caught.value) == ["KeyError"]

    kit.run(main)


def test_the_context_of_an_error_is_kept(kit: Any) -> None:
    async def main() -> None:
        async def child() -> None:
            try:
                raise ValueError
            except ValueError:
                raise KeyError  # noqa: B904

        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(child)
        assert isinstance(caught.value.exceptions[0].__context__, ValueError)

    kit.run(main)


def test_what_is_no_async_function_is_refused(kit: Any) -> None:
    async def main() -> None:
        async with kit.open_nursery() as nursery:
            coroutine = kit.sleep(1)
            with pytest.raises(TypeError):
                nursery.start_soon(coroutine)
            with pytest.raises(TypeError):
                nursery.start_soon(len, [])
            with pytest.raises(TypeError):
                nursery.start_soon(7)
            with pytest.raises(TypeError):
                nursery.start_soon(kit.sleep, 1, colour="red")

    kit.run(main)


def test_nobody_keeps_what_has_ended(kit: Any) -> None:
    class Thing:
        pass

    async def main() -> None:
        async def child(thing: Thing) -> None:
            await kit.checkpoint()

        async with kit.open_nursery() as nursery:
            thing = Thing()
            gone = weakref.ref(thing)
            nursery.start_soon(child, thing)
            del thing
            for _ in range(5):
                await kit.checkpoint()
            gc.collect()
            assert gone() is None

    kit.run(main)


def test_the_parent_and_the_children_can_be_seen(kit: Any) -> None:
    async def main() -> None:
        async with kit.open_nursery() as nursery:
            assert nursery.parent_task is not None
            assert len(nursery.child_tasks) == 0
            nursery.start_soon(kit.sleep, 1)
            nursery.start_soon(kit.sleep, 2)
            assert len(nursery.child_tasks) == 2
            await kit.sleep(1.5)
            assert len(nursery.child_tasks) == 1

    kit.run(main)


@pytest.mark.parametrize("inner", ["nursery", "scope"])
@pytest.mark.parametrize("outer", ["nursery", "scope"])
def test_nurseries_and_scopes_nest(kit: Any, outer: str, inner: str) -> None:
    async def main() -> None:
        begun = kit.current_time()

        async def work(kind: str, then: Any) -> None:
            if kind == "nursery":
                async with kit.open_nursery() as nursery:
                    nursery.start_soon(then)
            else:
                with kit.CancelScope():
                    await then()

        with kit.move_on_after(1) as scope:
            await work(outer, lambda: work(inner, kit.sleep_forever))
        assert scope.cancelled_caught
        assert kit.current_time() - begun == pytest.approx(1, abs=0.2)

    kit.run(main)


@pytest.mark.parametrize("error", [KeyError, None])
def test_a_task_that_swallows_its_cancellation_ends_well(kit: Any, error: type[Exception] | None) -> None:
    async def main() -> None:
        seen = []

        async def swallows() -> None:
            try:
                await kit.sleep_forever()
            except kit.Cancelled:
                seen.append("swallowed")

        async def run() -> None:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(swallows)
                await kit.checkpoint()
                if error is None:
                    nursery.cancel_scope.cancel()
                else:
                    nursery.start_soon(fail, error)

        if error is None:
            await run()
        else:
            with pytest.raises(ExceptionGroup) as caught:
                await run()
            assert flat(caught.value) == ["KeyError"]
        assert seen == ["swallowed"]

    kit.run(main)
