"""Tasks and futures in cycles with their own loop and with what they wait for."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable
from typing import Any

Collected = Callable[..., None]


class Owner:
    """Something that keeps what it started."""

    task: Any = None
    future: Any = None

    async def work(self) -> None:
        await asyncio.sleep(0)

    async def wait(self) -> None:
        self.future = asyncio.get_running_loop().create_future()
        await self.future


def test_an_owner_of_a_finished_task(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> tuple[weakref.ref[object], ...]:
        owner = Owner()
        owner.task = asyncio.create_task(owner.work())
        await owner.task
        return weakref.ref(owner), weakref.ref(owner.task)

    assert_collected(*loop.run_until_complete(main()))


def test_a_pending_task_is_kept_by_its_loop(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    """asyncio's may vanish at any collection when only what they wait for refers to them."""
    told: list[str] = []
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))

    async def main() -> tuple[weakref.ref[Any], ...]:
        owner = Owner()
        owner.task = asyncio.create_task(owner.wait())
        await asyncio.sleep(0)
        return weakref.ref(owner), weakref.ref(owner.task), weakref.ref(owner.future)

    refs = loop.run_until_complete(main())
    gc.collect()
    assert refs[1]().get_name().startswith("Task-")
    refs[2]().set_result(None)
    loop.run_until_complete(asyncio.sleep(0))
    assert_collected(*refs)
    assert told == []


def test_a_pending_task_goes_when_its_loop_closes(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    told: list[str] = []
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))

    async def main() -> tuple[weakref.ref[object], ...]:
        owner = Owner()
        owner.task = asyncio.create_task(owner.wait())
        await asyncio.sleep(0)
        return weakref.ref(owner), weakref.ref(owner.task), weakref.ref(owner.future)

    refs = loop.run_until_complete(main())
    loop.close()
    assert_collected(*refs)
    assert told == ["Task was destroyed but it is pending!"]


def test_a_pending_task_goes_with_a_loop_that_nobody_closed(collected_with_warning: Callable[..., None]) -> None:
    import tepal

    box: list[Any] = [tepal.new_event_loop()]
    told: list[str] = []
    box[0].set_exception_handler(lambda _, context: told.append(context["message"]))

    async def main() -> tuple[weakref.ref[object], ...]:
        task = asyncio.create_task(Owner().wait())
        await asyncio.sleep(0)
        return weakref.ref(task), weakref.ref(asyncio.get_running_loop())

    refs = box[0].run_until_complete(main())
    collected_with_warning(box, *refs)
    assert told == ["Task was destroyed but it is pending!"]


def test_an_owner_of_a_future_with_a_callback(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    class Calling:
        future: Any = None

        def done(self, _future: object) -> None: ...

    owner = Calling()
    owner.future = loop.create_future()
    owner.future.add_done_callback(owner.done)
    refs = weakref.ref(owner), weakref.ref(owner.future)
    del owner
    assert_collected(*refs)


def test_what_a_finished_run_leaves_is_collected_with_the_loop(assert_collected: Collected) -> None:
    import tepal

    async def main() -> weakref.ref[object]:
        owner = Owner()
        owner.task = asyncio.create_task(owner.work())
        await owner.task
        return weakref.ref(owner.task)

    with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
        ref = runner.run(main())
        loop_ref = weakref.ref(runner.get_loop())
    del runner
    assert_collected(ref, loop_ref)


def test_a_cancelled_sock_recv_lets_go(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    one, other = socket.socketpair()
    one.setblocking(False)

    async def main() -> tuple[weakref.ref[object], ...]:
        buffer = memoryview(bytearray(10))
        task = asyncio.create_task(loop.sock_recv_into(one, buffer))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return weakref.ref(task), weakref.ref(buffer)

    with one, other:
        assert_collected(*loop.run_until_complete(main()))


def test_a_failed_sock_connect_lets_go(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> tuple[weakref.ref[object], ...]:
        with socket.socket() as free, socket.socket() as client:
            free.bind(("127.0.0.1", 0))
            client.setblocking(False)
            task = asyncio.create_task(loop.sock_connect(client, free.getsockname()))
            await asyncio.wait([task])
            assert isinstance(task.exception(), ConnectionRefusedError)
            return weakref.ref(task), weakref.ref(client)

    assert_collected(*loop.run_until_complete(main()))
