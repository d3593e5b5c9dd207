"""A handle's body lies over the slots of its base: what a stranger finds who reaches past our descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import sysconfig
import weakref

import pytest

import tepal


@pytest.fixture
def loop():
    loop = tepal.new_event_loop()
    yield loop
    loop.close()


def slots(kind: type) -> list[object]:
    """The slots of asyncio's own classes, which ours never fill by these names."""
    of_base = [base for base in kind.__mro__ if base.__module__.startswith("asyncio")]
    return [vars(base)[name] for base in of_base for name in base.__slots__ if name != "__weakref__"]


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_the_bases_own_descriptors_find_objects(loop, count):
    # One of each kind that is over leaves its memory to the next.
    loop.call_soon(lambda *_: None, object(), object(), object())
    loop.call_soon_threadsafe(lambda *_: None, object(), object(), object())
    loop.call_later(9, print, object(), object(), object()).cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    arguments = [object() for _ in range(count)]
    for handle in (
        loop.call_soon(print, *arguments),
        loop.call_later(9, print, *arguments),
        loop.call_soon_threadsafe(print, *arguments),
    ):
        weak = weakref.ref(handle)
        before = [sys.getrefcount(argument) for argument in arguments]
        for slot in slots(type(handle)):
            # What it is says nothing; that it is an object, or nothing at all, is the promise.
            with contextlib.suppress(AttributeError):
                repr(slot.__get__(handle))
        assert weak() is handle
        assert [sys.getrefcount(argument) for argument in arguments] == before
        assert handle._callback is print
        assert tuple(handle._args) == tuple(arguments)
        handle.cancel()


def test_a_handle_takes_little_more_room_than_its_base():
    words = (tepal.Handle.__basicsize__ - asyncio.Handle.__basicsize__) // 8
    assert words <= 5


@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="contexts are shared under a GIL only")
def test_the_timers_of_one_turn_share_a_context_until_they_run(loop):
    ran = []

    def count() -> int:
        return sum(isinstance(found, contextvars.Context) for found in gc.get_objects())

    async def main() -> None:
        before = count()
        handles = [loop.call_later(9, print) for _ in range(1000)]
        assert count() - before <= 2
        for handle in handles:
            handle.cancel()
        for number in range(3):
            loop.call_later(0, lambda number=number: ran.append((number, contextvars.copy_context())))
        done = loop.create_future()
        loop.call_later(0.001, done.set_result, None)
        await done

    loop.run_until_complete(main())
    assert [number for number, _ in ran] == [0, 1, 2]
