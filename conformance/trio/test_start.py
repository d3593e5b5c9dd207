"""`nursery.start`: a task that says when it is ready."""

from __future__ import annotations

from typing import Any

import pytest


async def quiet(*, task_status: Any) -> None:
    """End without having said anything."""


@pytest.mark.parametrize("value", [None, 7, "seven"])
def test_the_value_is_returned(kit: Any, value: object) -> None:
    async def main() -> None:
        async def child(seconds: float, *, task_status: Any) -> None:
            await kit.sleep(seconds)
            task_status.started(value)
            await kit.sleep(seconds)

        begun = kit.current_time()
        async with kit.open_nursery() as nursery:
            assert await nursery.start(child, 1) == value
            assert kit.current_time() - begun == pytest.approx(1, abs=0.2)
            assert len(nursery.child_tasks) == 1
        assert kit.current_time() - begun == pytest.approx(2, abs=0.4)

    kit.run(main)


def test_started_may_be_the_first_thing(kit: Any) -> None:
    async def main() -> None:
        async def child(*, task_status: Any) -> None:
            task_status.started("at once")

        async with kit.open_nursery() as nursery:
            assert await nursery.start(child) == "at once"

    kit.run(main)


def test_started_twice_is_refused(kit: Any) -> None:
    async def main() -> None:
        async def child(*, task_status: Any) -> None:
            task_status.started()
            with pytest.raises(RuntimeError, match="called 'started' twice"):
                task_status.started()

        async with kit.open_nursery() as nursery:
            await nursery.start(child)

    kit.run(main)


def test_a_task_that_says_nothing_is_an_error(kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with kit.open_nursery() as nursery:
                await nursery.start(quiet)
        (error,) = caught.value.exceptions
        assert isinstance(error, RuntimeError)
        assert "child exited without calling task_status.started()" in str(error)

    kit.run(main)


@pytest.mark.parametrize("after", [True, False])
def test_where_an_error_arrives(kit: Any, after: bool) -> None:
    async def main() -> None:
        seen = []

        async def child(*, task_status: Any) -> None:
            if after:
                task_status.started()
            await kit.sleep(1)
            raise KeyError

        async def run() -> None:
            async with kit.open_nursery() as nursery:
                try:
                    await nursery.start(child)
                except KeyError:
                    seen.append("at start")
                else:
                    seen.append("started")
                    await kit.sleep_forever()

        if after:
            with pytest.raises(ExceptionGroup) as caught:
                await run()
            assert isinstance(caught.value.exceptions[0], KeyError)
        else:
            await run()
        assert seen == ["started" if after else "at start"]

    kit.run(main)


def test_an_error_before_it_is_ready_touches_nobody_else(kit: Any) -> None:
    async def main() -> None:
        done = []

        async def other() -> None:
            await kit.sleep(2)
            done.append("other")

        async def child(*, task_status: Any) -> None:
            await kit.sleep(1)
            raise KeyError

        async with kit.open_nursery() as nursery:
            nursery.start_soon(other)
            with pytest.raises(KeyError):
                await nursery.start(child)
        assert done == ["other"]

    kit.run(main)


def test_the_callers_scope_covers_it_until_it_is_ready(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(*, task_status: Any) -> None:
            try:
                await kit.sleep(5)
            except kit.Cancelled:
                seen.append("cancelled")
                raise

        async with kit.open_nursery() as nursery:
            with kit.move_on_after(1) as scope:
                await nursery.start(child)
            assert scope.cancelled_caught
        assert seen == ["cancelled"]

    kit.run(main)


def test_the_callers_scope_leaves_it_alone_when_it_is_ready(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(*, task_status: Any) -> None:
            task_status.started()
            await kit.sleep(3)
            seen.append("done")

        async with kit.open_nursery() as nursery:
            with kit.move_on_after(1) as scope:
                await nursery.start(child)
                await kit.sleep(2)
            assert scope.cancelled_caught
        assert seen == ["done"]

    kit.run(main)


def test_the_nurserys_scope_covers_it_from_then_on(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(*, task_status: Any) -> None:
            with kit.CancelScope():
                task_status.started()
                try:
                    await kit.sleep(3)
                except kit.Cancelled:
                    seen.append("cancelled")
                    raise

        async with kit.open_nursery() as nursery:
            await nursery.start(child)
            nursery.cancel_scope.cancel()
        assert seen == ["cancelled"]

    kit.run(main)


def test_ready_in_a_cancelled_caller(kit: Any) -> None:
    # It stays with the caller, and ends with it.
    async def main() -> None:
        seen = []

        async def child(*, task_status: Any) -> None:
            try:
                await kit.sleep_forever()
            except kit.Cancelled:
                task_status.started("late")
                assert len(nursery.child_tasks) == 0
                seen.append("late")
                raise

        async with kit.open_nursery() as nursery:
            with kit.move_on_after(1):
                await nursery.start(child)
        assert seen == ["late"]

    kit.run(main)


def test_ready_in_a_cancelled_nursery(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(*, task_status: Any) -> None:
            task_status.started()
            try:
                await kit.checkpoint()
            except kit.Cancelled:
                seen.append("cancelled")
                raise

        async with kit.open_nursery() as nursery:
            nursery.cancel_scope.cancel()
            with kit.CancelScope(shield=True):
                await nursery.start(child)
        assert seen == ["cancelled"]

    kit.run(main)


def test_the_nursery_stays_open_for_one_who_starts(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(*, task_status: Any) -> None:
            await kit.sleep(1)
            task_status.started()
            await kit.sleep(1)
            seen.append("done")

        async def starter(nursery: Any) -> None:
            await nursery.start(child)
            seen.append("started")

        async with kit.open_nursery() as elsewhere:
            async with kit.open_nursery() as nursery:
                elsewhere.start_soon(starter, nursery)
                await kit.checkpoint()
                await kit.checkpoint()
            assert seen == ["started", "done"]

    kit.run(main)


def test_one_task_starts_another_in_its_own_nursery(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def inner(*, task_status: Any) -> None:
            task_status.started()
            await kit.sleep(1)
            seen.append("inner")

        async def outer(nursery: Any, *, task_status: Any) -> None:
            await nursery.start(inner)
            task_status.started("outer")

        async with kit.open_nursery() as nursery:
            assert await nursery.start(outer, nursery) == "outer"
        assert seen == ["inner"]

    kit.run(main)


def test_a_name_is_given(kit: Any) -> None:
    async def main() -> None:
        async def child(*, task_status: Any) -> None:
            task_status.started()

        async with kit.open_nursery() as nursery:
            await nursery.start(child, name="named")

    kit.run(main)


def test_children_that_it_made_before_go_with_it(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def grandchild() -> None:
            try:
                await kit.sleep_forever()
            except kit.Cancelled:
                seen.append("grandchild")
                raise

        async def child(*, task_status: Any) -> None:
            async with kit.open_nursery() as own:
                own.start_soon(grandchild)
                await kit.sleep(1)
                task_status.started()

        async with kit.open_nursery() as nursery:
            with kit.move_on_after(2):
                await nursery.start(child)
                await kit.sleep(3)
            assert seen == []
            nursery.cancel_scope.cancel()
        assert seen == ["grandchild"]

    kit.run(main)
