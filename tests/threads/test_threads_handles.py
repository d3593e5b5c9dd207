"""Handles in several threads' hands: cancelled, looked at and run at the same moment.

With the GIL these tests prove the rules: one run at most, no callback after a cancel that returned, every reference given
back. That two threads do not empty the same handle twice, or read what a third lets go, only a free-threaded
interpreter can show, and there only if it is asked often.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tepal

Together = Callable[..., None]

ROUNDS = 300

MEETINGS = 200 if sysconfig.get_config_var("Py_GIL_DISABLED") else 20
"""Waiting for the other thread costs a switch of threads for each handle where it cannot run at the same moment."""


class Token:
    """A callback and an argument that many handles hold; who lets it go twice, or never, shows in its count."""

    def __call__(self, *_arguments: object) -> None:
        pass


class Held:
    """Holds the token, since pytest holds what a fixture gives."""

    def __init__(self) -> None:
        self.token = Token()


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    before = sys.getrefcount(held.token)
    yield held
    gc.collect()
    after = sys.getrefcount(held.token)  # (in an assertion, pytest would hold it once more)
    assert after == before


@pytest.fixture
def loop(held: Held) -> Iterator[asyncio.AbstractEventLoop]:  # (closed before the references are counted)
    loop = tepal.new_event_loop()
    yield loop
    loop.close()


def nothing(*_arguments: object) -> None:
    pass


def make_timer(loop: asyncio.AbstractEventLoop, token: Token) -> asyncio.Handle:
    return loop.call_later(1000, nothing, token)


def make_soon(loop: asyncio.AbstractEventLoop, token: Token) -> asyncio.Handle:
    return loop.call_soon_threadsafe(nothing, token)


def make_soon_with_many(loop: asyncio.AbstractEventLoop, token: Token) -> asyncio.Handle:
    return loop.call_soon_threadsafe(nothing, token, token, token, token, token)


RACES: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "two cancel": (lambda handle: handle.cancel(), lambda handle: handle.cancel()),
    "one runs, one cancels": (lambda handle: handle._run(), lambda handle: handle.cancel()),
    "one looks, one cancels": (lambda handle: handle._args, lambda handle: handle.cancel()),
    "one looks, one runs": (lambda handle: repr(handle), lambda handle: handle._run()),
}


@pytest.mark.parametrize("race", RACES)
def test_two_threads_that_meet_at_every_handle(
    loop: asyncio.AbstractEventLoop, held: Held, together: Together, race: str
) -> None:
    handles = [tepal.Handle(held.token, (held.token, held.token), loop) for _ in range(MEETINGS)]
    at = [0, 0]

    def walk(me: int, act: Callable[[Any], object]) -> None:
        for number, handle in enumerate(handles):
            at[me] = number
            while at[1 - me] < number:  # a lock would let one go before the other; this lets both go at once
                pass
            act(handle)
        at[me] = MEETINGS

    one, other = RACES[race]
    together(lambda: walk(0, one), lambda: walk(1, other))


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("make", [make_timer, make_soon, make_soon_with_many])
def test_cancelling_one_handle_in_four_threads_at_once(
    loop: asyncio.AbstractEventLoop,
    held: Held,
    together: Together,
    make: Callable[[asyncio.AbstractEventLoop, Token], asyncio.Handle],
    debug: bool,
) -> None:
    loop.set_debug(debug)
    rounds = ROUNDS // 10 if debug else ROUNDS
    handles = [make(loop, held.token) for _ in range(rounds)]

    def cancel() -> None:
        for handle in handles:
            handle.cancel()

    together(*[cancel] * 4)
    assert all(handle.cancelled() for handle in handles)


def test_looking_at_handles_that_others_cancel(loop: asyncio.AbstractEventLoop, held: Held, together: Together) -> None:
    handles: list[Any] = [make(loop, held.token) for make in (make_timer, make_soon_with_many) for _ in range(ROUNDS)]

    def look() -> None:
        for handle in handles:
            callback, arguments = handle._callback, handle._args
            assert callback in (nothing, None)
            assert arguments is None or set(arguments) == {held.token} or arguments == ()
            assert repr(handle)
            handle.cancelled()

    def cancel() -> None:
        for handle in handles:
            handle.cancel()

    together(look, cancel, look, cancel)


def test_a_handle_that_one_thread_runs_and_others_cancel(
    loop: asyncio.AbstractEventLoop, held: Held, together: Together
) -> None:
    ran: list[int] = []

    def callback(number: int, _token: Token) -> None:
        ran.append(number)

    handles: list[Any] = [tepal.Handle(callback, (number, held.token), loop) for number in range(ROUNDS)]

    def run() -> None:
        for handle in handles:
            handle._run()

    def cancel() -> None:
        for handle in handles:
            handle.cancel()

    together(run, cancel, cancel)
    assert len(ran) == len(set(ran))


def test_a_handle_runs_once_at_a_time(loop: asyncio.AbstractEventLoop, held: Held) -> None:
    # asyncio refuses it, too: the handle's context is entered already.
    refused: list[str] = []

    def again(_token: Token) -> None:
        with pytest.raises(RuntimeError) as caught:
            handle._run()
        refused.append(str(caught.value))
        handle.cancel()  # gives up what this very call borrows, but not before it is over

    handle: Any = tepal.Handle(again, (held.token,), loop)
    handle._run()
    assert refused == ["this handle is running already"]
    assert handle._callback is None


def test_no_callback_after_a_cancel_that_returned(loop: asyncio.AbstractEventLoop, together: Together) -> None:
    # CPython 3.14's promise for call_soon_threadsafe: cancel() waits for a callback that has begun.
    late: list[int] = []
    returned = [False] * ROUNDS
    done = threading.Event()

    def callback(number: int) -> None:
        if returned[number]:
            late.append(number)

    def cancel() -> None:
        for number in range(ROUNDS):
            handle = loop.call_soon_threadsafe(callback, number)
            handle.cancel()
            returned[number] = True
        done.set()

    def stop() -> None:
        done.wait()
        loop.call_soon_threadsafe(loop.stop)

    together(loop.run_forever, cancel, stop)
    assert late == []


def test_timers_cancelled_by_others_while_they_fall_due(
    loop: asyncio.AbstractEventLoop, held: Held, together: Together
) -> None:
    ran: list[int] = []
    given: list[asyncio.Handle] = []
    ready, done = threading.Event(), threading.Barrier(3)

    def arm() -> None:
        given.extend(
            loop.call_later(number * 1e-6, lambda n, _t: ran.append(n), number, held.token) for number in range(1000)
        )
        ready.set()

    def cancel() -> None:
        ready.wait()
        for handle in given[::3]:
            handle.cancel()
        done.wait()

    def stop() -> None:
        done.wait()
        loop.call_soon_threadsafe(loop.call_later, 0.01, loop.stop)

    loop.call_soon(arm)
    together(loop.run_forever, cancel, cancel, stop)
    assert len(ran) == len(set(ran))
    assert {number for number in range(1000) if number % 3} <= set(ran)
    given.clear()


def test_handles_made_here_and_freed_there(loop: asyncio.AbstractEventLoop, held: Held, together: Together) -> None:
    box: list[asyncio.Handle] = []
    finished = threading.Barrier(4)

    def make() -> None:
        for _ in range(ROUNDS * 3):
            box.append(loop.call_soon_threadsafe(nothing, held.token))
        finished.wait()

    def free() -> None:
        for _ in range(ROUNDS * 3):
            if box:
                try:
                    box.pop()
                except IndexError:  # another thread took the last one
                    pass
        finished.wait()

    def stop() -> None:
        finished.wait()
        loop.call_soon_threadsafe(loop.stop)

    together(loop.run_forever, make, free, free, stop)
    box.clear()
