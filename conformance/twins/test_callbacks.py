"""call_soon, call_later, call_at: in which order, with what arguments, and what cancelling does."""

from __future__ import annotations

import asyncio
import time

import pytest

from .support import Run


def stop_soon(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_callbacks_run_in_the_order_given(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    for number in range(100):
        loop.call_soon(seen.append, number)
    stop_soon(loop)
    assert seen == list(range(100))


@pytest.mark.parametrize("args", [(), (1,), (1, 2), (1, 2, 3, 4, 5, 6, 7, 8)], ids=len)
def test_arguments_arrive(loop: asyncio.AbstractEventLoop, args: tuple[int, ...]) -> None:
    seen: list[tuple[int, ...]] = []
    loop.call_soon(lambda *got: seen.append(got), *args)
    loop.call_later(0, lambda *got: seen.append(got), *args)
    loop.call_at(loop.time(), lambda *got: seen.append(got), *args)
    loop.call_soon_threadsafe(lambda *got: seen.append(got), *args)
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert seen == [args] * 4


def test_keywords_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError):
        loop.call_soon(print, end="")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        loop.call_soon()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        loop.call_later(1)  # type: ignore[call-arg]


def test_context_is_a_keyword_only(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []
    loop.call_soon(seen.append, None)
    stop_soon(loop)
    assert seen == [None]


def test_a_callback_added_by_a_callback_runs_in_the_next_turn(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "added")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["first", "second"]
    stop_soon(loop)
    assert seen == ["first", "second", "added"]


def test_stop_lets_the_turn_finish(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, 1)
    loop.run_forever()
    assert seen == [1]


def test_stop_before_running_runs_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []

    def once() -> None:
        seen.append(1)
        loop.call_soon(seen.append, 2)

    loop.call_soon(once)
    loop.stop()
    loop.run_forever()
    assert seen == [1]


def test_a_cancelled_callback_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    loop.call_soon(seen.append, 1).cancel()
    kept = loop.call_soon(seen.append, 2)
    loop.call_soon_threadsafe(seen.append, 3).cancel()
    stop_soon(loop)
    kept.cancel()
    assert seen == [2]


def test_a_callback_may_cancel_the_next_one(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    loop.call_soon(lambda: later.cancel())
    later = loop.call_soon(seen.append, 1)
    stop_soon(loop)
    assert seen == []


def test_a_callback_may_cancel_itself(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[bool] = []

    def callback() -> None:
        handle.cancel()
        seen.append(handle.cancelled())

    handle = loop.call_soon(callback)
    stop_soon(loop)
    assert seen == [True]


def test_timers_run_by_time_not_by_order_of_making(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    now = loop.time()
    for offset in (3, 1, 2, 0):
        loop.call_at(now + offset / 1000, seen.append, offset)
    loop.call_at(now + 0.004, loop.stop)
    loop.run_forever()
    assert seen == [0, 1, 2, 3]


def test_a_due_timer_waits_for_its_turn(loop: asyncio.AbstractEventLoop) -> None:
    # A turn is: I/O, then the timers that are due, then what was ready; a timer made now is looked at in the next.
    seen: list[str] = []
    loop.call_soon(seen.append, "ready")
    loop.call_at(loop.time() - 1, seen.append, "timer")
    loop.call_soon(seen.append, "ready too")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["ready", "ready too", "timer"]


def test_no_timer_fires_early(loop: asyncio.AbstractEventLoop) -> None:
    late: list[float] = []
    for delay in (0.001, 0.0025, 0.004, 0.0071):
        when = loop.time() + delay
        loop.call_at(when, lambda when=when: late.append(loop.time() - when))
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    resolution = time.get_clock_info("monotonic").resolution
    assert len(late) == 4
    assert min(late) >= -resolution


def test_negative_and_zero_delays_are_due_at_once(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    loop.call_later(-5, seen.append, 1)
    loop.call_later(0, seen.append, 2)
    loop.call_soon(lambda: loop.call_soon(loop.stop))
    loop.run_forever()
    assert seen == [1, 2]


def test_delays_may_be_integers_and_must_be_numbers(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.call_at(5, print).when() == 5
    with pytest.raises(TypeError):
        loop.call_later(None, print)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loop.call_at(None, print)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loop.call_later("1", print)  # type: ignore[arg-type]


def test_a_timer_far_away_does_not_hurt(loop: asyncio.AbstractEventLoop) -> None:
    # Thirty years do not fit in the milliseconds that a kernel takes; asyncio caps the wait.
    loop.call_later(1e9, print)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()


def test_infinity_never_comes(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    handle = loop.call_later(float("inf"), seen.append, 1)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert handle.when() == float("inf")
    assert seen == []


def test_a_cancelled_timer_does_not_fire_nor_wake_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    loop.call_later(0.001, seen.append, 1).cancel()
    loop.call_later(0.003, loop.stop)
    loop.run_forever()
    assert seen == []


def test_a_timer_may_cancel_one_that_is_due_in_the_same_turn(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    now = loop.time()
    loop.call_at(now - 2, lambda: second.cancel())
    second = loop.call_at(now - 1, seen.append, 1)
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == []


def test_a_timer_may_cancel_itself_and_be_cancelled_after_it_fired(loop: asyncio.AbstractEventLoop) -> None:
    timer = loop.call_later(0, lambda: timer.cancel())
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    timer.cancel()
    assert timer.cancelled()


def test_cancelling_a_timer_takes_constant_time(loop: asyncio.AbstractEventLoop) -> None:
    # A search through the pending ones would need minutes for the second half.
    count = 50_000
    timers = [loop.call_later(1000 + index % 977, print) for index in range(count)]
    began = time.perf_counter()
    for timer in reversed(timers):
        timer.cancel()
    assert time.perf_counter() - began < 1.0
    stop_soon(loop)


def test_a_turn_with_many_cancelled_timers_keeps_the_living(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    now = loop.time()
    for index in range(2000):
        timer = loop.call_at(now + (index * 7919 % 2000) / 1e6, seen.append, index)
        if index % 10:
            timer.cancel()
    loop.call_at(now + 0.006, loop.stop)
    loop.run_forever()
    expected = sorted((i for i in range(0, 2000, 10)), key=lambda i: i * 7919 % 2000)
    assert seen == expected


def test_zero_delay_yields_to_what_is_ready(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    async def main() -> None:
        loop.call_soon(seen.append, "callback")
        await asyncio.sleep(0)
        seen.append("task")

    loop.run_until_complete(main())
    assert seen == ["callback", "task"]


def test_a_loop_busy_with_callbacks_still_serves_timers(loop: asyncio.AbstractEventLoop) -> None:
    turns = 0

    def spin() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(spin)

    loop.call_soon(spin)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert turns > 2


def test_time_is_monotonic_and_can_be_replaced(loop: asyncio.AbstractEventLoop) -> None:
    assert abs(loop.time() - time.monotonic()) < 1.0
    # Test suites put their own clock on the instance; call_later must ask through it.
    loop.time = lambda: 1000.0  # type: ignore[method-assign]
    assert loop.call_later(5, print).when() == 1005.0


def test_call_soon_can_be_replaced_on_the_instance(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []
    original = loop.call_soon

    def spy(callback: object, *args: object, **kwargs: object) -> asyncio.Handle:
        seen.append(callback)
        return original(callback, *args, **kwargs)  # type: ignore[arg-type]

    loop.call_soon = spy  # type: ignore[method-assign,assignment]

    async def main() -> None:
        future = loop.create_future()
        future.add_done_callback(seen.append)
        future.set_result(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert future in seen

    loop.run_until_complete(main())
    del loop.call_soon
    assert seen


def test_methods_can_be_overridden_in_a_subclass(loop: asyncio.AbstractEventLoop) -> None:
    class Counting(type(loop)):  # type: ignore[misc]
        calls = 0

        def call_soon(self, callback: object, *args: object, context: object = None) -> asyncio.Handle:
            self.calls += 1
            return super().call_soon(callback, *args, context=context)  # type: ignore[no-any-return]

    counting = Counting()
    try:
        counting.run_until_complete(asyncio.sleep(0))
        assert counting.calls > 0
    finally:
        counting.close()


def test_turns_alternate_between_two_chains(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def step(name: str, left: int) -> None:
        seen.append(name)
        if left:
            loop.call_soon(step, name, left - 1)
        elif name == "b":
            loop.stop()

    loop.call_soon(step, "a", 3)
    loop.call_soon(step, "b", 3)
    loop.run_forever()
    assert seen == ["a", "b"] * 4


def test_callables_of_every_kind(loop: asyncio.AbstractEventLoop) -> None:
    class Callable:
        def __init__(self) -> None:
            self.got: list[tuple[object, ...]] = []

        def __call__(self, *args: object) -> None:
            self.got.append(args)

        def method(self, *args: object) -> None:
            self.got.append(("method", *args))

        @classmethod
        def of_class(cls, out: list[object]) -> None:
            out.append(cls)

    subject, seen = Callable(), []
    loop.call_soon(subject, 1)
    loop.call_soon(subject.method, 2)
    loop.call_soon(Callable.of_class, seen)
    loop.call_soon(dict)
    stop_soon(loop)
    assert subject.got == [(1,), ("method", 2)]
    assert seen == [Callable]


def test_a_result_that_is_set_twice_is_told_outside_any_task(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[object] = []

        def handler(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
            told.extend([type(context["exception"]), asyncio.current_task()])

        loop.set_exception_handler(handler)
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        loop.call_soon(future.set_result, 2)
        assert await future == 1
        await asyncio.sleep(0)
        assert told == [asyncio.InvalidStateError, None]

    run(main)
