"""Starting, stopping and closing a loop, and the words of the errors when somebody does it wrongly."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from .conftest import Ledger
from .support import LoopFactory, Run


async def nothing() -> str:
    return "done"


def test_it_is_what_programs_expect(loop: asyncio.AbstractEventLoop) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, asyncio.BaseEventLoop)
    assert weakref.ref(loop)() is loop
    loop.some_attribute = 1  # type: ignore[attr-defined]
    assert loop.some_attribute == 1  # type: ignore[attr-defined]
    assert isinstance(hash(loop), int)


def test_repr_tells_the_state(loop: asyncio.AbstractEventLoop) -> None:
    assert "running=False closed=False debug=False" in repr(loop)
    seen: list[str] = []
    loop.call_soon(lambda: seen.append(repr(loop)))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert "running=True" in seen[0]
    loop.close()
    assert "closed=True" in repr(loop)


def test_run_until_complete_returns_the_result(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.run_until_complete(nothing()) == "done"
    future = loop.create_future()
    loop.call_soon(future.set_result, 5)
    assert loop.run_until_complete(future) == 5
    assert loop.run_until_complete(future) == 5


def test_run_until_complete_raises_the_exception(loop: asyncio.AbstractEventLoop) -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        loop.run_until_complete(fail())
    assert not loop.is_running()


def test_run_until_complete_of_a_cancelled_future(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    loop.call_soon(future.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(future)


def test_run_until_complete_refuses_what_cannot_be_awaited(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError):
        loop.run_until_complete(5)  # type: ignore[arg-type]


def test_run_until_complete_refuses_a_future_of_another_loop(
    loop: asyncio.AbstractEventLoop, loop_factory: LoopFactory
) -> None:
    other = loop_factory()
    future = other.create_future()
    with pytest.raises(ValueError, match="different loop"):
        loop.run_until_complete(future)
    other.close()


def test_a_loop_that_is_stopped_before_the_future_is_done(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        loop.run_until_complete(future)
    loop.call_soon(future.set_result, 1)
    assert loop.run_until_complete(future) == 1


def test_a_future_that_is_done_later_does_not_stop_the_next_run(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError):
        loop.run_until_complete(future)
    future.set_result(None)
    # asyncio takes its done-callback off again, so this run is ended by its own future alone.
    loop.run_until_complete(asyncio.sleep(0.002))


def test_the_loop_can_be_run_again_and_again(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(5):
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert loop.run_until_complete(nothing()) == "done"


def test_is_running_and_the_running_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        assert loop.is_running()
        assert asyncio.get_running_loop() is loop
        assert asyncio.get_event_loop() is loop

    assert not loop.is_running()
    loop.run_until_complete(main())
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_the_running_loop_is_seen_by_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
    loop.call_later(0, lambda: seen.append(asyncio.get_running_loop()))
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == [loop, loop]


def test_the_running_loop_is_unset_after_an_interrupt(loop: asyncio.AbstractEventLoop) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt("made by a test")

    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert not loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


# One attempt each: Python 3.13.0 forgets that a loop runs when an attempt to run it again is refused.
ATTEMPTS = pytest.mark.parametrize("attempt", ["run_forever", "run_until_complete"])


def try_to_run(loop: asyncio.AbstractEventLoop, attempt: str) -> None:
    if attempt == "run_forever":
        loop.run_forever()
    coro = nothing()
    try:
        loop.run_until_complete(coro)
    finally:
        coro.close()


@ATTEMPTS
def test_running_a_running_loop(loop: asyncio.AbstractEventLoop, attempt: str) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            try_to_run(loop, attempt)

    loop.run_until_complete(main())


@ATTEMPTS
def test_running_another_loop_inside(loop: asyncio.AbstractEventLoop, loop_factory: LoopFactory, attempt: str) -> None:
    async def main() -> None:
        other = loop_factory()
        with pytest.raises(RuntimeError, match=r"^Cannot run the event loop while another loop is running$"):
            try_to_run(other, attempt)
        assert not other.is_running()
        other.close()

    loop.run_until_complete(main())


def test_closing_a_running_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^Cannot close a running event loop$"):
            loop.close()

    loop.run_until_complete(main())
    assert not loop.is_closed()


def test_close_is_final_and_may_be_repeated(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.is_closed() is False
    loop.close()
    assert loop.is_closed() is True
    loop.close()
    assert not loop.is_running()


def test_a_closed_loop_refuses_everything(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    closed = pytest.raises(RuntimeError, match=r"^Event loop is closed$")
    with closed:
        loop.call_soon(print)
    with closed:
        loop.call_later(1, print)
    with closed:
        loop.call_at(1, print)
    with closed:
        loop.call_soon_threadsafe(print)
    with closed:
        loop.run_forever()
    coro = nothing()
    with closed:
        loop.run_until_complete(coro)
    with closed:
        loop.create_task(coro)
    coro.close()
    with closed:
        loop.run_in_executor(None, print)
    with closed:
        loop.add_reader(0, print)
    with closed:
        loop.add_writer(0, print)
    assert loop.remove_reader(0) is False
    assert loop.remove_writer(0) is False


def test_a_closed_loop_still_tells_and_sets(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    loop.set_debug(True)
    assert loop.get_debug() is True
    assert loop.time() > 0
    loop.stop()
    loop.create_future()


def test_closing_drops_what_was_scheduled(loop: asyncio.AbstractEventLoop) -> None:
    class Subject:
        def method(self) -> None:
            raise AssertionError("ran on a closed loop")

    subject = Subject()
    loop.call_soon(subject.method)
    loop.call_later(0, subject.method)
    loop.call_later(100, subject.method)
    loop.call_soon_threadsafe(subject.method)
    ref = weakref.ref(subject)
    del subject
    loop.close()
    gc.collect()
    assert ref() is None


def test_an_unclosed_loop_warns(loop_factory: LoopFactory, ledger: Ledger) -> None:
    loop = loop_factory()
    ref = weakref.ref(loop)
    del loop
    assert any(text.startswith("unclosed event loop <") for text in ledger.take_warnings(ResourceWarning))
    gc.collect()  # the warning itself has kept the loop until here
    assert ref() is None


def test_a_closed_loop_does_not_warn_and_is_collected(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    loop.run_until_complete(nothing())
    loop.close()
    ref = weakref.ref(loop)
    del loop
    gc.collect()
    assert ref() is None


def test_stop_from_another_callback_of_the_same_turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.run_until_complete(nothing())  # the second stop has not been kept for the next run


def test_runner_cancels_what_is_left(run: Run) -> None:
    seen: list[str] = []

    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    async def main() -> str:
        main.task = asyncio.create_task(child())  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return "result"

    assert run(main) == "result"
    assert seen == ["cancelled"]


def test_an_unawaited_coroutine_warns_as_ever(run: Run, ledger: Ledger) -> None:
    async def main() -> None:
        nothing()

    run(main)
    assert ledger.take_warnings(RuntimeWarning, "was never awaited")


def test_loops_made_and_closed_leave_nothing(loop_factory: LoopFactory) -> None:
    # The ledger counts the descriptors.
    for _ in range(50):
        loop = loop_factory()
        loop.call_later(100, print)
        loop.run_until_complete(nothing())
        loop.close()


def test_create_future_belongs_to_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    assert asyncio.isfuture(future)
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop


def test_root_task_carries_the_callback_that_anyio_looks_for(run: Run) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert any(
            callback is asyncio.base_events._run_until_complete_cb  # type: ignore[attr-defined]
            for callback, _ in task._callbacks or ()  # type: ignore[union-attr]
        )

    run(main)
