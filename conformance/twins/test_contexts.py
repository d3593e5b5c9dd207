"""Context variables: every callback has its context, and nothing leaks from one to the next."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import socket
import sys
import weakref
from collections.abc import Callable

import pytest

from .support import Run, connect_pair, eventually

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def stop_soon(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(0.002, loop.stop)
    loop.run_forever()


def test_a_callback_runs_in_a_copy_of_the_context_at_scheduling(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def schedule(name: str) -> None:
        var.set(name)
        loop.call_soon(lambda: seen.append(var.get()))
        loop.call_later(0, lambda: seen.append(var.get()))
        loop.call_soon_threadsafe(lambda: seen.append(var.get()))
        var.set("changed later")

    for name in ("a", "b"):
        contextvars.copy_context().run(schedule, name)
    stop_soon(loop)
    assert sorted(seen) == ["a", "a", "a", "b", "b", "b"]
    assert var.get() == "unset"


def test_the_given_context_is_used_not_copied(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    loop.call_soon(var.set, "soon", context=context)
    stop_soon(loop)
    assert context[var] == "soon"
    loop.call_later(0, var.set, "later", context=context)
    stop_soon(loop)
    assert context[var] == "later"
    loop.call_at(0, var.set, "at", context=context)
    stop_soon(loop)
    assert context[var] == "at"
    loop.call_soon_threadsafe(var.set, "threadsafe", context=context)
    stop_soon(loop)
    assert context[var] == "threadsafe"
    assert var.get() == "unset"


def test_nothing_leaks_to_the_next_callback(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    context = contextvars.copy_context()
    for _ in range(3):
        loop.call_soon(var.set, "set by another")
        loop.call_soon(lambda: seen.append(var.get()))
        loop.call_soon(var.set, "set in the given one", context=context)
        loop.call_soon(lambda: seen.append(var.get()))
    stop_soon(loop)
    assert seen == ["unset"] * 6


def test_nothing_leaks_when_a_callback_raises(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.set_exception_handler(lambda _loop, _context: None)

    def bad() -> None:
        var.set("bad")
        raise ValueError

    loop.call_soon(bad)
    loop.call_soon(lambda: seen.append(var.get()))
    stop_soon(loop)
    assert seen == ["unset"]


def test_callbacks_may_share_one_context(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    context = contextvars.copy_context()
    loop.call_soon(var.set, "shared", context=context)
    loop.call_soon(lambda: seen.append(var.get()), context=context)
    stop_soon(loop)
    assert seen == ["shared"]


def test_a_task_has_a_context_of_its_own(run: Run) -> None:
    async def child() -> str:
        var.set("child")
        await asyncio.sleep(0)
        return var.get()

    async def main() -> None:
        var.set("main")
        assert await asyncio.create_task(child()) == "child"
        assert var.get() == "main"

    run(main)


def test_a_task_may_be_given_a_context(run: Run) -> None:
    async def child() -> None:
        var.set("child")
        await asyncio.sleep(0)

    async def main() -> None:
        context = contextvars.copy_context()
        await asyncio.get_running_loop().create_task(child(), context=context)
        assert context[var] == "child"
        assert var.get() == "unset"

    run(main)


def test_a_done_callback_has_its_context(run: Run) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        context, seen = contextvars.copy_context(), []
        context.run(var.set, "explicit")
        future.add_done_callback(lambda _: seen.append(var.get()), context=context)
        var.set("implicit")
        future.add_done_callback(lambda _: seen.append(var.get()))
        var.set("later")
        future.set_result(None)
        await asyncio.sleep(0)
        assert seen == ["explicit", "implicit"]

    run(main)


def test_readers_and_writers_run_in_the_context_of_their_registration(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        with one, other:
            seen: list[str] = []
            var.set("reader")
            loop.add_reader(one, lambda: (seen.append(var.get()), var.set("leaked"), loop.remove_reader(one)))
            var.set("writer")
            loop.add_writer(one, lambda: (seen.append(var.get()), var.set("leaked"), loop.remove_writer(one)))
            var.set("main")
            other.send(b"x")
            await eventually(lambda: len(seen) == 2)
            assert sorted(seen) == ["reader", "writer"]
            assert var.get() == "main"

    run(main)


def test_protocol_methods_run_in_the_context_of_the_connection(run: Run) -> None:
    class Protocol(asyncio.Protocol):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.seen.append(var.get())

        def data_received(self, data: bytes) -> None:
            self.seen.append(var.get())

        def connection_lost(self, exc: BaseException | None) -> None:
            self.seen.append(var.get())

    async def main() -> None:
        var.set("connecting")
        _transport, protocol, peer = await connect_pair("tcp", Protocol)
        var.set("other")
        with peer:
            peer.send(b"x")
            await eventually(lambda: len(protocol.seen) == 2)
        await eventually(lambda: len(protocol.seen) == 3)
        assert protocol.seen == ["connecting"] * 3

    run(main)


def test_run_in_executor_does_not_carry_the_context_and_to_thread_does(run: Run) -> None:
    async def main() -> None:
        var.set("main")
        assert await asyncio.get_running_loop().run_in_executor(None, var.get) == "unset"
        assert await asyncio.to_thread(var.get) == "main"

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handlers run in the context of what failed since 3.12")
def test_the_exception_handler_runs_in_the_context_of_the_handle_that_failed(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.set_exception_handler(lambda _loop, _context: seen.append(var.get()))

    def bad() -> None:
        raise ValueError

    for name in ("a", "b"):
        context = contextvars.copy_context()
        context.run(var.set, name)
        loop.call_soon(bad, context=context)
    stop_soon(loop)
    assert seen == ["a", "b"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handlers run in the context of what failed since 3.12")
def test_the_exception_handler_runs_in_the_context_of_the_task_that_failed(run: Run) -> None:
    async def child() -> None:
        var.set("child")
        raise ValueError

    async def main() -> None:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: seen.append(var.get()))
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        assert seen == ["child"]

    run(main)


Schedule = Callable[..., asyncio.Handle]
SCHEDULES: dict[str, Schedule] = {
    "call_later": lambda loop, *call: loop.call_later(0, *call),
    "call_at": lambda loop, *call: loop.call_at(loop.time(), *call),
    "call_soon_threadsafe": lambda loop, *call: loop.call_soon_threadsafe(*call),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_what_is_scheduled_in_one_turn_runs_in_contexts_of_its_own(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    seen: list[object] = []
    variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable", default="none")

    def see_and_set(name: str) -> None:
        seen.append(variable.get())
        variable.set(name)

    async def main() -> None:
        for name in ("first", "second"):
            schedule(loop, see_and_set, name)
        variable.set("from now on")
        for name in ("third", "fourth"):
            schedule(loop, see_and_set, name)
        variable.set("too late")
        done = loop.create_future()
        loop.call_later(0.002, done.set_result, None)
        await done

    loop.run_until_complete(main())
    assert seen == ["none", "none", "from now on", "from now on"]


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_handle_shows_a_context_of_its_own(loop: asyncio.AbstractEventLoop, schedule: Schedule) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> None:
        variable.set("here")
        handles = [schedule(loop, print) for _ in range(3)]
        contexts = [handle._context for handle in handles]  # type: ignore[attr-defined]
        contexts[0].run(variable.set, "elsewhere")
        assert [context[variable] for context in contexts] == ["elsewhere", "here", "here"]
        assert [handle._context for handle in handles] == contexts  # type: ignore[attr-defined]
        assert len({id(context) for context in contexts}) == 3
        for handle in handles:
            handle.cancel()

    loop.run_until_complete(main())


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_loop_keeps_no_context_of_what_was_cancelled(loop: asyncio.AbstractEventLoop, schedule: Schedule) -> None:
    class Value: ...

    variable: contextvars.ContextVar[Value] = contextvars.ContextVar("variable")

    async def work() -> weakref.ref[Value]:
        value = Value()
        variable.set(value)
        for _ in range(2):
            schedule(loop, print).cancel()
        return weakref.ref(value)

    async def main() -> None:
        value = await asyncio.create_task(work())
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        assert value() is None

    loop.run_until_complete(main())
