"""Values that nobody means: they are refused with an exception or do nothing; they never end the process or the loop."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tepal

Run = Callable[..., Any]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = tepal.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize(
    "when", [float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 10**400, -(10**400), 2**63, True], ids=str
)
def test_times_beyond_all_bounds(loop: asyncio.AbstractEventLoop, when: Any) -> None:
    fired: list[str] = []
    handles = []
    for schedule in (loop.call_at, loop.call_later):
        try:
            handles.append(schedule(when, fired.append, "odd"))
        except (OverflowError, ValueError):
            continue
    for number in range(5):
        loop.call_later(number / 1000, fired.append, str(number))
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert [name for name in fired if name != "odd"] == ["0", "1", "2", "3", "4"]
    for handle in handles:
        repr(handle)
        handle.cancel()
    turn(loop)


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("answer", ["text", None, float("nan"), 10**400])
def test_a_clock_that_lies(loop: asyncio.AbstractEventLoop, answer: Any) -> None:
    loop.call_later(0.001, loop.stop)
    loop.time = lambda: answer  # type: ignore[method-assign]
    loop.call_soon(loop.stop)
    try:
        loop.run_forever()
    except (TypeError, ValueError, OverflowError):
        pass
    del loop.time
    turn(loop)


def test_a_clock_that_raises(loop: asyncio.AbstractEventLoop) -> None:
    def broken() -> float:
        raise ZeroDivisionError

    loop.time = broken  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        loop.call_later(1, print)
    loop.call_soon(loop.stop)
    try:
        loop.run_forever()
    except ZeroDivisionError:
        pass
    del loop.time
    turn(loop)


class Odd:
    """Raises whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __repr__(self) -> str:
        raise ZeroDivisionError("repr")

    def __hash__(self) -> int:
        raise ZeroDivisionError("hash")

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("eq")


def test_callbacks_and_arguments_that_raise_when_looked_at(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.set_exception_handler(lambda _loop, _context: seen.append("told"))
    loop.call_soon(lambda _: seen.append("called"), Odd())
    loop.call_later(0, lambda *_: seen.append("called"), Odd(), Odd())
    # It cannot be called, and the report about it cannot be written either: that error leaves run_forever, as in asyncio.
    loop.call_later(0.001, Odd())  # type: ignore[arg-type]
    loop.call_later(0.002, loop.stop)
    with pytest.raises(ZeroDivisionError):
        loop.run_forever()
    assert seen == ["called", "called"]
    loop.run_forever()


def test_an_argument_whose_destructor_uses_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    class Dying:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            loop.call_soon(seen.append, self.name)
            loop.call_later(1000, print).cancel()

    loop.call_soon(lambda _: None, Dying("after the call"))
    loop.call_soon(print, Dying("cancelled")).cancel()
    loop.call_later(1000, print, Dying("timer")).cancel()
    for _ in range(3):
        turn(loop)
    gc.collect()
    turn(loop)
    assert sorted(seen) == ["after the call", "cancelled", "timer"]


def test_a_destructor_that_uses_a_loop_that_closes() -> None:
    loop = tepal.new_event_loop()
    seen: list[str] = []

    class Dying:
        def __del__(self) -> None:
            for call in (loop.call_soon, loop.call_soon_threadsafe):
                try:
                    call(print)
                except RuntimeError as error:
                    seen.append(str(error))

    loop.call_soon(print, Dying())
    loop.call_later(1000, print, Dying())
    loop.close()
    assert seen == ["Event loop is closed"] * 4


def test_a_loop_closed_by_a_destructor_of_its_own_callback() -> None:
    loop = tepal.new_event_loop()

    class Closing:
        def __del__(self) -> None:
            try:
                loop.close()
            except RuntimeError:
                pass

    loop.call_soon(lambda _: None, Closing())
    turn(loop)
    loop.close()


def test_a_hundred_thousand_callbacks_that_each_make_one(loop: asyncio.AbstractEventLoop) -> None:
    left = 100_000

    def next_one() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(next_one)
        else:
            loop.stop()

    loop.call_soon(next_one)
    loop.run_forever()
    assert left == 0


def test_a_recursion_error_in_a_callback(loop: asyncio.AbstractEventLoop) -> None:
    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    def deep() -> None:
        deep()

    loop.call_soon(deep)
    turn(loop)
    assert isinstance(told[0], RecursionError)


def test_a_memory_error_in_data_received(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        lost = loop.create_future()

        class Greedy(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                raise MemoryError

            def connection_lost(self, exc: BaseException | None) -> None:
                lost.set_result(exc)

        ours, peer = socket.socketpair()
        with peer:
            await loop.create_connection(Greedy, sock=ours)
            peer.send(b"x")
            assert isinstance(await lost, MemoryError)

    run(main)


NO_PROTOCOLS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "number": lambda: 5,
    "object": object,
    "class": lambda: asyncio.Protocol,
    "odd": Odd,
}


@pytest.mark.parametrize("factory", NO_PROTOCOLS.values(), ids=NO_PROTOCOLS)
def test_factories_that_make_no_protocol(run: Run, factory: Callable[[], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        ours, peer = socket.socketpair()
        with peer:
            try:
                transport, _ = await loop.create_connection(factory, sock=ours)
            except (TypeError, AttributeError, ZeroDivisionError):
                ours.close()
            else:
                peer.send(b"x")
                await asyncio.sleep(0.002)
                transport.abort()
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    run(main)


def test_a_server_whose_factory_makes_no_protocol(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        server = await loop.create_server(lambda: None, "127.0.0.1", 0)  # type: ignore[arg-type, return-value]
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.send(b"x")
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.005)
        server.close()
        for transport in [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Transport)]:
            transport.abort()

    run(main)


@pytest.mark.parametrize("count", [-1, "text", None, 1.5])
def test_sock_recv_of_no_sensible_size(run: Run, count: Any) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        one.setblocking(False)
        with one, other:
            other.send(b"x")
            with pytest.raises((ValueError, TypeError, MemoryError, OverflowError)):
                await asyncio.get_running_loop().sock_recv(one, count)

    run(main)


def test_sock_methods_on_closed_sockets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        closed = socket.socket()
        closed.setblocking(False)
        closed.close()
        for awaitable in (
            loop.sock_recv(closed, 1),
            loop.sock_recv_into(closed, bytearray(1)),
            loop.sock_sendall(closed, b"x"),
            loop.sock_accept(closed),
            loop.sock_connect(closed, ("127.0.0.1", 9)),
        ):
            with pytest.raises((OSError, ValueError)):
                await awaitable

    run(main)


def test_classes_used_without_their_ceremony_do_not_crash(python: Callable[..., Any]) -> None:
    # A loop whose __init__ never ran, a handle's class called by hand: an exception, or an object that does little.
    script = """
import asyncio, gc, tepal
loop = tepal.new_event_loop()
handles = [type(loop.call_soon(int)), type(loop.call_later(1, int))]
attempts = [
    lambda: object.__new__(tepal.EventLoop),
    lambda: tepal.EventLoop("argument"),
    lambda: tepal.EventLoop.__new__(tepal.EventLoop),
]
for cls in handles:
    for arguments in ((), (1,), (print, ()), (print, (), loop), (1.0, print, (), loop), (1.0, print, 5, None)):
        attempts.append(lambda cls=cls, arguments=arguments: cls(*arguments))
for attempt in attempts:
    for use in (repr, hash, lambda thing: thing.cancel(), lambda thing: thing.close(), lambda thing: thing.run_forever(),
                lambda thing: thing.call_soon(print), lambda thing: thing == thing, lambda thing: thing < thing):
        try:
            use(attempt())
        except Exception:
            pass
        gc.collect()
loop.close()
print("alive")
"""
    done = python("-W", "ignore", "-c", script)
    assert done.stdout.strip() == "alive", (done.returncode, done.stderr)
