"""A forked child that goes on using the parent's loop is told so, and the parent's descriptors stay unharmed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import traceback
import warnings
from collections.abc import Callable

import pytest

import tepal


def forked(child: Callable[[], object]) -> str:
    """Run `child` in a forked process; "" when it ended well, or the traceback."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        number = os.fork()
    if number == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)  # a hang in here must not outlive the test
        text = ""
        try:
            child()
        except BaseException:  # noqa: BLE001 - the child must end here, whatever comes
            text = traceback.format_exc()
        finally:
            os.write(writing, text.encode()[-4000:])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    _, status = os.waitpid(number, 0)
    return text or (f"the child ended with status {status}" if status else "")


def test_running_the_parents_loop_in_the_child_is_refused() -> None:
    loop = tepal.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))

    def child() -> None:
        with pytest.raises(RuntimeError, match="fork"):
            loop.run_forever()
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="fork"):
            loop.run_until_complete(coroutine)
        coroutine.close()

    assert forked(child) == ""
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_watching_on_the_parents_loop_in_the_child_is_refused() -> None:
    # The kernel's list of descriptors is shared with the parent: a registration here would wake the parent there.
    loop = tepal.new_event_loop()
    one, other = socket.socketpair()

    def child() -> None:
        with pytest.raises(RuntimeError, match="fork"):
            loop.add_reader(one, print)
        with pytest.raises(RuntimeError, match="fork"):
            loop.add_writer(one, print)

    with one, other:
        assert forked(child) == ""
    loop.close()


def test_the_parents_loop_may_be_closed_in_the_child_without_harm() -> None:
    loop = tepal.new_event_loop()
    one, other = socket.socketpair()
    seen: list[bytes] = []
    with one, other:
        loop.add_reader(one, lambda: (seen.append(one.recv(10)), loop.stop()))
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert forked(loop.close) == ""
        other.send(b"for me")
        loop.run_forever()
        assert seen == [b"for me"]
        loop.remove_reader(one)
    loop.close()


def test_a_child_forked_inside_a_callback_can_exit() -> None:
    loop = tepal.new_event_loop()
    outcomes: list[str] = []
    loop.call_soon(lambda: outcomes.append(forked(lambda: None)))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert outcomes == [""]
    loop.close()


def test_a_wake_up_from_the_child_does_not_reach_the_parent() -> None:
    loop = tepal.new_event_loop()
    seen: list[int] = []

    def child() -> None:
        try:
            loop.call_soon_threadsafe(seen.append, 1)
        except RuntimeError:
            pass

    assert forked(child) == ""
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == []
    loop.close()
