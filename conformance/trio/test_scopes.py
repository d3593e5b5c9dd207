"""Cancelling: whom it reaches, how often, and where it ends."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("times", [1, 2, 10])
def test_every_wait_is_broken_off(kit: Any, times: int) -> None:
    async def main() -> None:
        with kit.CancelScope() as scope:
            scope.cancel()
            for _ in range(times):
                with pytest.raises(kit.Cancelled):
                    await kit.checkpoint()
                with pytest.raises(kit.Cancelled):
                    await kit.sleep(1)
                with pytest.raises(kit.Cancelled):
                    await kit.sleep_forever()
        assert not scope.cancelled_caught
        await kit.checkpoint()

    kit.run(main)


@pytest.mark.parametrize("before", [True, False])
def test_cancelled_before_it_waits(kit: Any, before: bool) -> None:
    async def main() -> None:
        scope = kit.CancelScope()
        if before:
            scope.cancel()
            assert scope.cancel_called
        with scope:
            if not before:
                scope.cancel()
            await kit.sleep_forever()
        assert scope.cancelled_caught

    kit.run(main)


def test_cancelled_while_it_waits(kit: Any) -> None:
    async def main() -> None:
        async with kit.open_nursery() as nursery:
            with kit.CancelScope() as scope:

                async def child() -> None:
                    await kit.sleep(1)
                    scope.cancel()

                nursery.start_soon(child)
                await kit.sleep_forever()
            assert scope.cancelled_caught
            await kit.sleep(1)

    kit.run(main)


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("which", [0, -1])
def test_a_cancelled_scope_ends_all_inside_and_none_around(kit: Any, depth: int, which: int) -> None:
    async def main() -> None:
        scopes = [kit.CancelScope() for _ in range(depth)]

        async def descend(level: int) -> None:
            if level == depth:
                scopes[which].cancel()
                await kit.sleep_forever()
            with scopes[level]:
                await descend(level + 1)
                raise AssertionError("went on")

        async def start() -> None:
            try:
                await descend(0)
            except AssertionError:
                pass

        await start()
        caught = [scope.cancelled_caught for scope in scopes]
        assert sum(caught) == 1
        assert caught[which]

    kit.run(main)


def test_the_outermost_cancelled_scope_catches(kit: Any) -> None:
    async def main() -> None:
        with kit.CancelScope() as outer:
            with kit.CancelScope() as middle:
                with kit.CancelScope() as inner:
                    for scope in (inner, outer, middle):
                        scope.cancel()
                    await kit.checkpoint()
        assert [scope.cancelled_caught for scope in (outer, middle, inner)] == [True, False, False]

    kit.run(main)


def test_cancelling_again_is_nothing(kit: Any) -> None:
    async def main() -> None:
        with kit.CancelScope() as scope:
            scope.cancel()
            scope.cancel()
            await kit.checkpoint()
        scope.cancel()
        await kit.checkpoint()

    kit.run(main)


def test_a_scope_is_used_once(kit: Any) -> None:
    async def main() -> None:
        scope = kit.CancelScope()
        with scope:
            with pytest.raises(RuntimeError):
                scope.__enter__()
        with pytest.raises(RuntimeError), scope:
            pass
        await kit.checkpoint()

    kit.run(main)


def test_an_error_passes_a_cancelled_scope(kit: Any) -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            with kit.CancelScope() as scope:
                scope.cancel()
                try:
                    await kit.checkpoint()
                except kit.Cancelled:
                    raise KeyError from None
        assert not scope.cancelled_caught

    kit.run(main)


def test_a_value_returned_out_of_a_cancelled_scope(kit: Any) -> None:
    async def inner() -> int:
        with kit.CancelScope() as scope:
            scope.cancel()
            return 7
        return 8

    async def main() -> None:
        assert await inner() == 7

    kit.run(main)


@pytest.mark.parametrize("other", [KeyError, RuntimeError])
def test_a_group_loses_its_cancellations_at_the_scope(kit: Any, other: type[Exception]) -> None:
    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            with kit.CancelScope() as scope:
                scope.cancel()
                try:
                    await kit.checkpoint()
                except kit.Cancelled as cancelled:
                    raise BaseExceptionGroup("both", [cancelled, other()]) from None
        assert [type(error) for error in caught.value.exceptions] == [other]
        assert scope.cancelled_caught

    kit.run(main)


def test_a_group_of_nothing_but_cancellations_ends_at_the_scope(kit: Any) -> None:
    async def main() -> None:
        with kit.CancelScope() as scope:
            scope.cancel()
            errors = []
            for _ in range(2):
                try:
                    await kit.checkpoint()
                except kit.Cancelled as cancelled:
                    errors.append(cancelled)
            raise BaseExceptionGroup("all", errors)
        assert scope.cancelled_caught

    kit.run(main)


def test_a_cancellation_passes_a_scope_that_is_not_cancelled(kit: Any) -> None:
    async def main() -> None:
        seen = []
        with kit.CancelScope() as outer:
            try:
                with kit.CancelScope() as inner:
                    outer.cancel()
                    await kit.sleep_forever()
            except kit.Cancelled:
                seen.append("passed")
                raise
        assert seen == ["passed"]
        assert outer.cancelled_caught
        assert not inner.cancelled_caught

    kit.run(main)


def test_what_runs_in_finally_is_broken_off_too(kit: Any) -> None:
    async def main() -> None:
        seen = []
        with kit.move_on_after(1):
            try:
                await kit.sleep_forever()
            finally:
                seen.append("finally")
                await kit.sleep(1)
                seen.append("never")
        assert seen == ["finally"]

    kit.run(main)


def test_a_child_is_reached_through_its_nursery(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(name: str) -> None:
            try:
                await kit.sleep_forever()
            except kit.Cancelled:
                seen.append(name)
                raise

        with kit.CancelScope() as scope:
            async with kit.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(child, name)
                await kit.sleep(1)
                scope.cancel()
        assert sorted(seen) == ["a", "b", "c"]
        assert scope.cancelled_caught

    kit.run(main)


def test_a_grandchild_is_reached(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def grandchild() -> None:
            try:
                await kit.sleep_forever()
            finally:
                seen.append("grandchild")

        async def child() -> None:
            async with kit.open_nursery() as nursery:
                nursery.start_soon(grandchild)
                nursery.start_soon(grandchild)

        async with kit.open_nursery() as nursery:
            nursery.start_soon(child)
            await kit.sleep(1)
            nursery.cancel_scope.cancel()
        assert seen == ["grandchild"] * 2

    kit.run(main)


def test_a_child_begins_in_the_scopes_of_its_nursery_and_not_in_the_spawners(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child() -> None:
            await kit.sleep(2)
            seen.append("done")

        async with kit.open_nursery() as nursery:
            with kit.CancelScope() as scope:
                nursery.start_soon(child)
                scope.cancel()
                await kit.checkpoint()
            assert scope.cancelled_caught
        assert seen == ["done"]

    kit.run(main)


def test_a_task_runs_to_its_first_wait_when_it_is_cancelled_before_it_began(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child() -> None:
            seen.append("begun")
            await kit.checkpoint()
            seen.append("never")

        async with kit.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.cancel_scope.cancel()
        assert seen == ["begun"]

    kit.run(main)


def test_a_task_may_cancel_the_scope_that_it_runs_in(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(nursery: Any) -> None:
            nursery.cancel_scope.cancel()
            seen.append("on")
            await kit.checkpoint()
            seen.append("never")

        async with kit.open_nursery() as nursery:
            nursery.start_soon(child, nursery)
            await kit.sleep_forever()
        assert seen == ["on"]

    kit.run(main)


def test_a_lock_is_given_back_when_its_holder_is_cancelled(kit: Any) -> None:
    async def main() -> None:
        lock = kit.Lock()

        async def holder() -> None:
            async with lock:
                await kit.sleep_forever()

        async with kit.open_nursery() as nursery:
            nursery.start_soon(holder)
            await kit.sleep(1)
            nursery.cancel_scope.cancel()
        assert not lock.locked()

    kit.run(main)


def test_a_waiter_that_was_cancelled_does_not_take_the_lock(kit: Any) -> None:
    async def main() -> None:
        lock = kit.Lock()

        async def holder() -> None:
            async with lock:
                await kit.sleep(2)

        async with kit.open_nursery() as nursery:
            nursery.start_soon(holder)
            await kit.sleep(0.5)
            with kit.move_on_after(1) as scope:
                await lock.acquire()
            assert scope.cancelled_caught
        assert not lock.locked()

    kit.run(main)


@pytest.mark.parametrize("first", ["event", "cancel"])
def test_an_event_and_a_cancellation_at_once(kit: Any, first: str) -> None:
    # The first to come is what the waiter sees: it has been woken by then.
    async def main() -> None:
        event = kit.Event()
        seen = []
        async with kit.open_nursery() as nursery:
            scope = kit.CancelScope()

            async def waiter() -> None:
                with scope:
                    await event.wait()
                    seen.append("event")
                    await kit.checkpoint()
                    seen.append("never")

            nursery.start_soon(waiter)
            await kit.sleep(1)
            if first == "event":
                event.set()
                scope.cancel()
            else:
                scope.cancel()
                event.set()
        assert seen == (["event"] if first == "event" else [])

    kit.run(main)


def test_leaving_scopes_out_of_order_is_told(kit: Any) -> None:
    async def main() -> None:
        outer, inner = kit.CancelScope(), kit.CancelScope()
        outer.__enter__()
        inner.__enter__()
        with pytest.raises(RuntimeError, match="Cancel scope stack corrupted"):
            outer.__exit__(None, None, None)
        if kit.name == "tepal":
            # The damage is mended: the other one can be left.
            inner.__exit__(None, None, None)

    try:
        kit.run(main)
    except BaseException as error:  # noqa: BLE001 (Trio lets its own shape of it out at the end)
        assert kit.name == "trio"
        assert "corrupt" in repr(error)


def test_leaving_a_scope_twice_is_told(kit: Any) -> None:
    async def main() -> None:
        scope = kit.CancelScope()
        with scope:
            pass
        with pytest.raises(RuntimeError, match="Cancel scope stack corrupted"):
            scope.__exit__(None, None, None)
        await kit.checkpoint()

    kit.run(main)


def test_leaving_anothers_scope_is_told(kit: Any) -> None:
    async def main() -> None:
        scope = kit.CancelScope()

        async def other() -> None:
            with pytest.raises(RuntimeError, match="Cancel scope stack corrupted"):
                scope.__exit__(None, None, None)

        scope.__enter__()
        async with kit.open_nursery() as nursery:
            nursery.start_soon(other)

    try:
        kit.run(main)
    except BaseException as error:  # noqa: BLE001
        assert kit.name == "trio"
        assert "corrupt" in repr(error)


@pytest.mark.parametrize("reason", [None, "too many visitors"])
def test_a_reason_is_carried(kit: Any, reason: str | None) -> None:
    async def main() -> None:
        with kit.CancelScope() as scope:
            if reason is None:
                scope.cancel()
            else:
                scope.cancel(reason)
            with pytest.raises(kit.Cancelled) as caught:
                await kit.checkpoint()
            assert caught.value.source == "explicit"
            assert caught.value.reason == reason
            assert caught.value.source_task is not None

    kit.run(main)


def test_a_deadline_is_named_as_the_source(kit: Any) -> None:
    async def main() -> None:
        with kit.move_on_after(1):
            with pytest.raises(kit.Cancelled) as caught:
                await kit.sleep(2)
            assert caught.value.source == "deadline"
            assert caught.value.source_task is None

    kit.run(main)


def test_a_nursery_is_named_as_the_source(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def fails() -> None:
            raise KeyError

        async def waits() -> None:
            try:
                await kit.sleep_forever()
            except kit.Cancelled as cancelled:
                seen.append(cancelled.source)
                raise

        with pytest.raises(BaseExceptionGroup):
            async with kit.open_nursery() as nursery:
                nursery.start_soon(waits)
                await kit.sleep(1)
                nursery.start_soon(fails)
        assert seen == ["nursery"]

    kit.run(main)


def test_a_cancellation_cannot_be_made_by_hand(kit: Any) -> None:
    with pytest.raises(TypeError):
        kit.Cancelled()
