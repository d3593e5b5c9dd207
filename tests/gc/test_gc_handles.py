"""An object that keeps its own handle is a cycle through Rust; the collector must be able to see and break it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import tepal

Collected = Callable[..., None]
Loop = asyncio.AbstractEventLoop


class Owner:
    """Keeps the handle of a callback that is its own method."""

    handle: Any = None
    loop: Any = None

    def method(self, *args: object) -> None: ...


SCHEDULES: dict[str, Callable[[Loop, Owner], asyncio.Handle]] = {
    "soon": lambda loop, owner: loop.call_soon(owner.method),
    "soon with one argument": lambda loop, owner: loop.call_soon(print, owner),
    "soon with many arguments": lambda loop, owner: loop.call_soon(print, 1, 2, 3, owner),
    "later": lambda loop, owner: loop.call_later(1000, owner.method),
    "later with an argument": lambda loop, owner: loop.call_later(1000, print, owner),
    "at": lambda loop, owner: loop.call_at(1e9, owner.method, 1, 2),
    "threadsafe": lambda loop, owner: loop.call_soon_threadsafe(owner.method),
}
EVERY = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@EVERY
def test_with_a_scheduled_handle_when_the_loop_is_dropped(
    schedule: Callable[[Loop, Owner], asyncio.Handle], collected_with_warning: Collected
) -> None:
    box = [Owner()]
    box[0].loop = tepal.new_event_loop()
    box[0].handle = schedule(box[0].loop, box[0])
    collected_with_warning(box, weakref.ref(box[0].loop), weakref.ref(box[0]), weakref.ref(box[0].handle))


@EVERY
def test_with_a_cancelled_handle(
    schedule: Callable[[Loop, Owner], asyncio.Handle], loop: Loop, assert_collected: Collected
) -> None:
    owner = Owner()
    owner.handle = schedule(loop, owner)
    owner.handle.cancel()
    refs = weakref.ref(owner), weakref.ref(owner.handle)
    del owner
    loop.run_until_complete(asyncio.sleep(0))  # asyncio, too, keeps a cancelled handle queued until its turn
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert_collected(refs[0])


@EVERY
def test_with_a_handle_of_a_closed_loop(
    schedule: Callable[[Loop, Owner], asyncio.Handle], loop: Loop, assert_collected: Collected
) -> None:
    owner = Owner()
    owner.handle = schedule(loop, owner)
    owner.loop = loop
    refs = weakref.ref(owner), weakref.ref(owner.handle)
    loop.close()
    del owner
    assert_collected(*refs)


def test_with_a_handle_that_has_fired(loop: Loop, assert_collected: Collected) -> None:
    owner, timed = Owner(), Owner()
    owner.handle = loop.call_soon(owner.method, owner)
    timed.handle = loop.call_later(0, timed.method, timed)
    refs = weakref.ref(owner), weakref.ref(owner.handle), weakref.ref(timed), weakref.ref(timed.handle)
    del owner, timed
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert_collected(*refs)


def test_with_its_context(loop: Loop, assert_collected: Collected) -> None:
    var: contextvars.ContextVar[object] = contextvars.ContextVar("var")
    owner, context = Owner(), contextvars.copy_context()
    context.run(var.set, owner)
    owner.handle = loop.call_later(1000, print, context=context)
    refs = weakref.ref(owner), weakref.ref(owner.handle)
    owner.handle.cancel()
    loop.close()
    del owner, context
    assert_collected(*refs)


def test_a_handle_that_is_an_argument_of_itself(loop: Loop, assert_collected: Collected) -> None:
    box: list[object] = []
    handle = loop.call_later(1000, print, box)
    box.append(handle)
    ref = weakref.ref(handle)
    loop.close()
    del handle, box
    assert_collected(ref)


@EVERY
def test_the_collector_sees_what_a_handle_holds(schedule: Callable[[Loop, Owner], asyncio.Handle], loop: Loop) -> None:
    owner = Owner()
    handle = schedule(loop, owner)
    assert gc.is_tracked(handle)
    seen = gc.get_referents(handle)
    reached = seen + [thing for referent in seen for thing in gc.get_referents(referent)]
    assert any(thing is owner for thing in reached)
    handle.cancel()


def test_the_collector_sees_what_a_loop_holds(loop: Loop) -> None:
    soon, later, threadsafe = Owner(), Owner(), Owner()
    loop.call_soon(soon.method)
    loop.call_later(1000, later.method)
    loop.call_soon_threadsafe(threadsafe.method)
    reached: set[int] = set()
    frontier: list[object] = [loop]
    for _ in range(4):
        frontier = [thing for thing in gc.get_referents(*frontier) if id(thing) not in reached]
        reached.update(map(id, frontier))
    for owner in (soon, later, threadsafe):
        assert id(owner) in reached
