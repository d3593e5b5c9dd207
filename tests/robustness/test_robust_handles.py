"""A handle's body lies over the slots of its base: what a stranger finds who reaches past our descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import sys
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
