"""What call_soon and call_later hand back: asyncio's Handle and TimerHandle, to the letter."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable

import pytest


def callback() -> None:
    """A callback with a name to look for."""


def test_handles_are_those_of_the_standard_library(loop: asyncio.AbstractEventLoop) -> None:
    assert isinstance(loop.call_soon(callback), asyncio.Handle)
    assert isinstance(loop.call_soon_threadsafe(callback), asyncio.Handle)
    timer = loop.call_later(100, callback)
    assert isinstance(timer, asyncio.TimerHandle)
    assert isinstance(loop.call_at(1e9, callback), asyncio.TimerHandle)


def test_cancelled_tells(loop: asyncio.AbstractEventLoop) -> None:
    for handle in (loop.call_soon(callback), loop.call_later(100, callback), loop.call_soon_threadsafe(callback)):
        assert handle.cancelled() is False
        assert handle.cancel() is None
        assert handle.cancelled() is True
        handle.cancel()
        assert handle.cancelled() is True


def test_when_is_the_time_given(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.call_at(12345.5, callback).when() == 12345.5
    whole = loop.call_at(12345, callback)
    assert type(whole.when()) is int
    assert type(whole._when) is int  # type: ignore[attr-defined]
    before = loop.time()
    when = loop.call_later(100, callback).when()
    assert before + 100 <= when <= loop.time() + 100


def test_when_survives_firing_and_cancelling(loop: asyncio.AbstractEventLoop) -> None:
    now = loop.time()
    fired, cancelled = loop.call_at(now, callback), loop.call_at(now + 9, callback)
    cancelled.cancel()
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert fired.when() == now
    assert cancelled.when() == now + 9


@pytest.mark.parametrize("make", [lambda lo: lo.call_soon(callback), lambda lo: lo.call_later(100, callback)])
def test_repr_names_the_callback(
    loop: asyncio.AbstractEventLoop, make: Callable[[asyncio.AbstractEventLoop], asyncio.Handle]
) -> None:
    handle = make(loop)
    text = repr(handle)
    assert text.startswith("<") and text.endswith(">")
    assert type(handle).__name__ in text
    assert "callback()" in text
    assert f"{__file__}:" in text
    assert "cancelled" not in text
    handle.cancel()
    assert "cancelled" in repr(handle)


def test_repr_of_a_timer_says_when(loop: asyncio.AbstractEventLoop) -> None:
    assert "when=12345.5" in repr(loop.call_at(12345.5, callback))


def test_repr_shows_arguments_in_debug(loop: asyncio.AbstractEventLoop) -> None:
    # Python 3.11 shows them always.
    loop.set_debug(True)
    assert "callback(1, 'two')" in repr(loop.call_later(100, callback, 1, "two"))


def test_repr_in_debug_says_where_it_was_made(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    assert "created at" in repr(loop.call_soon(callback))


def test_attributes_that_others_read(loop: asyncio.AbstractEventLoop) -> None:
    def other(*args: object) -> None:
        pass

    handle, timer = loop.call_soon(other, 1, 2), loop.call_at(99.5, other, 3)
    assert handle._callback is other  # type: ignore[attr-defined]
    assert tuple(handle._args) == (1, 2)  # type: ignore[attr-defined]
    assert handle._cancelled is False  # type: ignore[attr-defined]
    assert timer._when == 99.5  # type: ignore[attr-defined]
    assert timer._scheduled is True  # type: ignore[attr-defined]
    assert handle._source_traceback is None  # type: ignore[attr-defined]
    handle.cancel()
    assert handle._callback is None  # type: ignore[attr-defined]
    assert handle._args is None  # type: ignore[attr-defined]
    assert handle._cancelled is True  # type: ignore[attr-defined]


def test_timers_compare_by_time(loop: asyncio.AbstractEventLoop) -> None:
    early, late, twin = loop.call_at(1e6, callback), loop.call_at(2e6, callback), loop.call_at(1e6, callback)
    assert early < late and early <= late and late > early and late >= early
    assert early <= twin and early >= twin
    assert early == twin
    assert not early != twin  # noqa: SIM202 - the operator is the subject
    assert early != late
    assert hash(early) == hash(twin) == hash(early.when())
    assert sorted([late, early]) == [early, late]


def test_timers_with_other_arguments_are_not_equal(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.call_at(1e6, print, 1) != loop.call_at(1e6, print, 2)
    one, other = loop.call_at(1e6, callback), loop.call_at(1e6, callback)
    other.cancel()
    assert one != other


def test_timers_do_not_compare_with_others(loop: asyncio.AbstractEventLoop) -> None:
    timer = loop.call_at(1e6, callback)
    assert timer != 1e6
    with pytest.raises(TypeError):
        _ = timer < 1e6  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = timer >= object()  # type: ignore[operator]


def test_plain_handles_compare_by_identity(loop: asyncio.AbstractEventLoop) -> None:
    one, other = loop.call_soon(callback), loop.call_soon(callback)
    assert one != other
    assert len({one, other, one}) == 2


def test_a_timer_equals_one_of_the_standard_library(loop: asyncio.AbstractEventLoop) -> None:
    timer = loop.call_at(1e6, callback)
    assert timer != asyncio.TimerHandle(2e6, callback, (), loop)
    assert timer < asyncio.TimerHandle(2e6, callback, (), loop)


@pytest.mark.skipif("get_context" not in dir(asyncio.Handle), reason="Handle.get_context came with Python 3.12")
def test_get_context(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    assert loop.call_soon(callback, context=context).get_context() is context
    assert loop.call_later(100, callback, context=context).get_context() is context
    implicit = loop.call_soon(callback).get_context()
    assert isinstance(implicit, contextvars.Context)
    assert implicit is not context


def test_handles_take_weak_references(loop: asyncio.AbstractEventLoop) -> None:
    handle, timer = loop.call_soon(callback), loop.call_later(0, callback)
    ref, timer_ref = weakref.ref(handle), weakref.ref(timer)
    assert ref() is handle and timer_ref() is timer
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    del handle, timer
    gc.collect()
    assert ref() is None and timer_ref() is None


def test_a_cancelled_handle_lets_go_of_its_arguments(loop: asyncio.AbstractEventLoop) -> None:
    class Subject:
        def method(self, other: object) -> None: ...

    for schedule in (loop.call_soon, lambda *a: loop.call_later(100, *a), loop.call_soon_threadsafe):
        subject, argument = Subject(), Subject()
        refs = weakref.ref(subject), weakref.ref(argument)
        handle = schedule(subject.method, argument)
        del subject, argument
        assert refs[0]() is not None
        handle.cancel()
        gc.collect()
        assert refs[0]() is None and refs[1]() is None


def test_a_fired_handle_lets_go_of_its_arguments_with_the_handle(loop: asyncio.AbstractEventLoop) -> None:
    class Subject:
        pass

    subject = Subject()
    ref = weakref.ref(subject)
    loop.call_soon(lambda _: None, subject)
    loop.call_later(0, lambda _: None, subject)
    del subject
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    gc.collect()
    assert ref() is None
