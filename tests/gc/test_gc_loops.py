"""A loop is collected when nobody holds it, with whatever it holds; and says so when it was left open."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import sysconfig
import weakref
from collections.abc import Callable
from typing import Any

import tepal

Collected = Callable[..., None]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_closed_loop_goes_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        loop = tepal.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        ref = weakref.ref(loop)
        del loop
        assert ref() is None
    finally:
        gc.enable()


def test_a_loop_that_holds_itself(assert_collected: Collected) -> None:
    loop: Any = tepal.new_event_loop()
    loop.myself = loop
    loop.set_exception_handler(lambda _loop, _context, loop=loop: None)
    loop.set_task_factory(lambda _loop, coro, loop=loop, **kwargs: asyncio.Task(coro, loop=loop, **kwargs))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    ref = weakref.ref(loop)
    del loop
    assert_collected(ref)


def test_an_unclosed_loop_warns_and_frees_its_descriptors(collected_with_warning: Collected) -> None:
    before = descriptors()
    box: list[Any] = [tepal.new_event_loop()]
    box[0].run_until_complete(asyncio.sleep(0.001))
    box[0].myself = box[0]
    collected_with_warning(box, weakref.ref(box[0]))
    assert descriptors() == before


def test_a_loop_with_readers_and_writers(collected_with_warning: Collected) -> None:
    class Owner:
        loop: Any

        def method(self) -> None: ...

    one, other = socket.socketpair()
    with one, other:
        box = [Owner()]
        box[0].loop = tepal.new_event_loop()
        box[0].loop.add_reader(one, box[0].method)
        box[0].loop.add_writer(one, box[0].method)
        collected_with_warning(box, weakref.ref(box[0]), weakref.ref(box[0].loop))


def test_a_loop_that_watches_what_holds_it(collected_with_warning: Collected) -> None:
    class File:
        loop: Any

        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock

        def fileno(self) -> int:
            return self.sock.fileno()

    one, other = socket.socketpair()
    with one, other:
        box = [File(one)]
        box[0].loop = tepal.new_event_loop()
        box[0].loop.add_reader(box[0], print)
        collected_with_warning(box, weakref.ref(box[0]), weakref.ref(box[0].loop))


def test_a_removed_reader_lets_go(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    class Owner:
        def method(self) -> None: ...

    one, other = socket.socketpair()
    with one, other:
        owner, replaced = Owner(), Owner()
        loop.add_reader(one, replaced.method)
        loop.add_reader(one, owner.method)
        refs = weakref.ref(owner), weakref.ref(replaced)
        loop.remove_reader(one)
        del owner, replaced
        assert_collected(*refs)


def test_a_subclass_is_collected_too(assert_collected: Collected) -> None:
    class Mine(tepal.EventLoop):
        pass

    loop: Any = Mine()
    loop.myself = loop
    loop.close()
    refs: list[weakref.ref[object]] = [weakref.ref(loop)]
    if sys.version_info >= (3, 14) or not sysconfig.get_config_var("Py_GIL_DISABLED"):
        # (A free-threaded 3.13 keeps every class, a plain one too, once threads have come and gone.)
        refs.append(weakref.ref(Mine))
    del loop, Mine
    assert_collected(*refs)


def test_hundreds_of_loops_leave_nothing() -> None:
    before = descriptors()
    for _ in range(200):
        loop = tepal.new_event_loop()
        loop.call_later(100, print)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    del loop
    gc.collect()
    assert descriptors() == before
