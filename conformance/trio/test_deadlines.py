"""When a scope's time is over."""

from __future__ import annotations

import math
from typing import Any

import pytest

WAYS = ["move_on_after", "move_on_at", "CancelScope", "relative"]


def make(kit: Any, way: str, seconds: float, **options: Any) -> Any:
    """A scope that ends in so many seconds, made in one of several ways."""
    if way == "move_on_after":
        return kit.move_on_after(seconds, **options)
    if way == "move_on_at":
        return kit.move_on_at(kit.current_time() + seconds, **options)
    if way == "relative":
        return kit.CancelScope(relative_deadline=seconds, **options)
    return kit.CancelScope(deadline=kit.current_time() + seconds, **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("seconds", "slept", "caught"), [(1, 2, True), (2, 1, False), (0, 1, True), (5, 5.5, True)])
def test_a_block_ends_at_its_deadline_or_before(kit: Any, way: str, seconds: float, slept: float, caught: bool) -> None:
    async def main() -> None:
        begun = kit.current_time()
        with make(kit, way, seconds) as scope:
            await kit.sleep(slept)
        assert kit.current_time() - begun == pytest.approx(min(seconds, slept), abs=0.2)
        assert scope.cancelled_caught is caught
        assert scope.cancel_called is caught

    kit.run(main)


@pytest.mark.parametrize("way", ["fail_after", "fail_at"])
@pytest.mark.parametrize("late", [True, False])
def test_fail_raises_when_it_has_caught(kit: Any, way: str, late: bool) -> None:
    async def main() -> None:
        limit = 1 if way == "fail_after" else kit.current_time() + 1
        scope: Any = None
        try:
            with getattr(kit, way)(limit) as scope:
                await kit.sleep(2 if late else 0.5)
        except kit.TooSlowError:
            assert late
        else:
            assert not late
        assert scope.cancelled_caught is late

    kit.run(main)


def test_fail_says_nothing_when_the_block_swallowed_the_end(kit: Any) -> None:
    async def main() -> None:
        with kit.fail_after(1) as scope:
            try:
                await kit.sleep(2)
            except kit.Cancelled:
                pass
        assert scope.cancel_called
        assert not scope.cancelled_caught

    kit.run(main)


def test_fail_keeps_the_error_of_the_block(kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(KeyError), kit.fail_after(1):
            try:
                await kit.sleep(2)
            finally:
                raise KeyError

    kit.run(main)


@pytest.mark.parametrize("outer", [1, 3])
@pytest.mark.parametrize("inner", [1.5, 2.5])
def test_the_sooner_of_two_deadlines_counts(kit: Any, outer: float, inner: float) -> None:
    async def main() -> None:
        begun = kit.current_time()
        with kit.move_on_after(outer) as outside:
            with kit.move_on_after(inner) as inside:
                await kit.sleep(10)
        assert kit.current_time() - begun == pytest.approx(min(outer, inner), abs=0.2)
        assert outside.cancelled_caught is (outer < inner)
        assert inside.cancelled_caught is (inner < outer)

    kit.run(main)


@pytest.mark.parametrize("move", [1, 4, math.inf, -math.inf])
def test_a_deadline_may_be_moved_from_inside(kit: Any, move: float) -> None:
    async def main() -> None:
        begun = kit.current_time()
        with kit.move_on_after(2) as scope:
            scope.deadline = begun + move
            assert scope.deadline == begun + move
            await kit.sleep(5)
        assert kit.current_time() - begun == pytest.approx(max(0, min(move, 5)), abs=0.2)
        assert scope.cancelled_caught is (move < 5)

    kit.run(main)


@pytest.mark.parametrize("move", [1, 3])
def test_a_deadline_may_be_moved_by_another_task(kit: Any, move: float) -> None:
    async def main() -> None:
        begun = kit.current_time()
        async with kit.open_nursery() as nursery:
            with kit.move_on_after(2) as scope:

                async def mover() -> None:
                    await kit.sleep(0.5)
                    scope.deadline = begun + move

                nursery.start_soon(mover)
                await kit.sleep(10)
            assert kit.current_time() - begun == pytest.approx(move, abs=0.2)
            assert scope.cancelled_caught

    kit.run(main)


def test_a_deadline_in_the_past_ends_the_block_where_it_first_waits(kit: Any) -> None:
    async def main() -> None:
        seen = []
        with kit.move_on_at(kit.current_time() - 1) as scope:
            seen.append("ran")
            await kit.checkpoint()
            seen.append("never")
        assert seen == ["ran"]
        assert scope.cancelled_caught

    kit.run(main)


def test_a_block_that_does_not_wait_is_not_ended(kit: Any) -> None:
    async def main() -> None:
        with kit.move_on_after(0) as scope:
            pass
        assert scope.cancel_called
        assert not scope.cancelled_caught

    kit.run(main)


@pytest.mark.parametrize("set_before", [True, False])
def test_a_deadline_may_be_set_late(kit: Any, set_before: bool) -> None:
    async def main() -> None:
        begun = kit.current_time()
        scope = kit.CancelScope()
        if set_before:
            scope.deadline = begun + 1
        with scope:
            if not set_before:
                scope.deadline = begun + 1
            await kit.sleep(3)
        assert kit.current_time() - begun == pytest.approx(1, abs=0.2)

    kit.run(main)


def test_a_relative_deadline_counts_from_the_entry(kit: Any) -> None:
    async def main() -> None:
        scope = kit.move_on_after(1)
        await kit.sleep(3)
        begun = kit.current_time()
        with scope:
            assert scope.deadline == pytest.approx(begun + 1, abs=0.2)
            await kit.sleep(3)
        assert scope.cancelled_caught
        assert kit.current_time() - begun == pytest.approx(1, abs=0.2)

    kit.run(main)


def test_a_scope_says_that_its_time_is_over_before_anybody_has_told(kit: Any) -> None:
    async def main() -> None:
        with kit.CancelScope() as scope:
            scope.deadline = kit.current_time() - 1
            assert scope.cancel_called

    kit.run(main)


@pytest.mark.parametrize("wrong", [-1, math.nan])
@pytest.mark.parametrize("way", ["move_on_after", "fail_after"])
def test_times_that_are_none(kit: Any, way: str, wrong: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError), getattr(kit, way)(wrong):
            pass

    kit.run(main)


@pytest.mark.parametrize("way", ["move_on_at", "fail_at"])
def test_a_deadline_that_is_none(kit: Any, way: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError), getattr(kit, way)(math.nan):
            pass

    kit.run(main)


def test_the_effective_deadline(kit: Any) -> None:
    async def main() -> None:
        now = kit.current_time()
        assert kit.current_effective_deadline() == math.inf
        with kit.move_on_at(now + 5):
            assert kit.current_effective_deadline() == now + 5
            with kit.move_on_at(now + 9):
                assert kit.current_effective_deadline() == now + 5
                with kit.CancelScope(shield=True) as shield:
                    assert kit.current_effective_deadline() == math.inf
                    shield.shield = False
                    assert kit.current_effective_deadline() == now + 5
            with kit.move_on_at(now + 1) as scope:
                assert kit.current_effective_deadline() == now + 1
                scope.cancel()
                assert kit.current_effective_deadline() == -math.inf
            assert kit.current_effective_deadline() == now + 5
        assert kit.current_effective_deadline() == math.inf

    kit.run(main)


def test_the_effective_deadline_of_a_child(kit: Any) -> None:
    async def main() -> None:
        now = kit.current_time()
        seen = []

        async def child() -> None:
            seen.append(kit.current_effective_deadline())
            with kit.move_on_at(now + 2):
                seen.append(kit.current_effective_deadline())

        with kit.move_on_at(now + 7):
            async with kit.open_nursery() as nursery:
                nursery.start_soon(child)
        assert seen == [now + 7, now + 2]

    kit.run(main)


def test_many_deadlines_end_in_their_order(kit: Any) -> None:
    async def main() -> None:
        ended = []

        async def child(seconds: float) -> None:
            with kit.move_on_after(seconds):
                await kit.sleep_forever()
            ended.append(seconds)

        async with kit.open_nursery() as nursery:
            for seconds in (3, 1, 2, 0.5, 2.5):
                nursery.start_soon(child, seconds)
        assert ended == [0.5, 1, 2, 2.5, 3]

    kit.run(main)
