"""KeyboardInterrupt and SystemExit out of user code: they end run_forever, and never the process by another door."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Ledger
from .support import connect_pair, socket_pair

FATAL = pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])


class Odd(BaseException):
    """Neither an Exception nor one of the two that end a program."""


class Plain(asyncio.Protocol):
    """A protocol of which a test makes one method raise."""


def failing(method: str, error: type[BaseException]) -> type[asyncio.Protocol]:
    """A protocol one method of which raises, the first time it is called."""
    errors = [error("made by a test")]

    def raising(self: asyncio.Protocol, *args: object) -> None:
        if errors:
            raise errors.pop()

    return type("Failing", (Plain,), {method: raising})


def go(loop: asyncio.AbstractEventLoop, main: Callable[[], Any]) -> None:
    loop.run_until_complete(main())


def finish(loop: asyncio.AbstractEventLoop) -> None:
    """The loop can go on after the exception, and is cleaned up as asyncio.run would."""
    seen: list[int] = []
    loop.call_soon(seen.append, 1)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == [1]
    assert not loop.is_running()


@FATAL
def test_out_of_a_callback(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    def callback() -> None:
        raise error("made by a test")

    seen: list[int] = []
    loop.call_soon(callback)
    loop.call_soon(seen.append, 1)
    with pytest.raises(error):
        loop.run_forever()
    assert not loop.is_running()
    assert seen == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1]  # what stood behind it is not lost


@FATAL
def test_out_of_a_timer(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    def callback() -> None:
        raise error("made by a test")

    loop.call_later(0.001, callback)
    with pytest.raises(error):
        loop.run_forever()
    finish(loop)


@FATAL
def test_out_of_a_task(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    async def child() -> None:
        raise error("made by a test")

    async def main() -> None:
        await asyncio.gather(asyncio.create_task(child()), return_exceptions=True)

    with pytest.raises(error):
        go(loop, main)
    finish(loop)


@FATAL
def test_out_of_the_main_task(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    async def main() -> None:
        raise error("made by a test")

    with pytest.raises(error):
        go(loop, main)
    finish(loop)


@FATAL
def test_out_of_the_exception_handler(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    def handler(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
        raise error("made by a test")

    def callback() -> None:
        raise ValueError

    loop.set_exception_handler(handler)
    loop.call_soon(callback)
    with pytest.raises(error):
        loop.run_forever()
    loop.set_exception_handler(None)
    finish(loop)


@FATAL
def test_out_of_a_reader_and_a_writer(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    def callback() -> None:
        raise error("made by a test")

    one, other = socket.socketpair()
    with one, other:
        other.send(b"x")
        loop.add_reader(one, callback)
        with pytest.raises(error):
            loop.run_forever()
        assert loop.remove_reader(one)
        loop.add_writer(one, callback)
        with pytest.raises(error):
            loop.run_forever()
        assert loop.remove_writer(one)
    finish(loop)


@FATAL
@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_out_of_a_protocol_method(loop: asyncio.AbstractEventLoop, error: type[BaseException], method: str) -> None:
    ours, peer = socket_pair("tcp")
    transports: list[asyncio.Transport] = []

    async def main() -> None:
        transport, _ = await loop.create_connection(failing(method, error), sock=ours)
        transports.append(transport)
        peer.send(b"x")
        peer.shutdown(socket.SHUT_WR)
        await loop.create_future()

    with peer:
        with pytest.raises(error):
            go(loop, main)
        finish(loop)
        for transport in transports:
            transport.abort()
        if method != "connection_lost":
            loop.run_until_complete(asyncio.sleep(0.001))
    ours.close()


@FATAL
@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_out_of_a_buffered_protocol(loop: asyncio.AbstractEventLoop, error: type[BaseException], method: str) -> None:
    errors = [error("made by a test")]

    class Buffered(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray(10)

        def buffer_updated(self, nbytes: int) -> None: ...

    def raising(self: object, number: int) -> bytearray:
        if errors:
            raise errors.pop()
        return bytearray(10)

    setattr(Buffered, method, raising)
    ours, peer = socket_pair("tcp")
    transports: list[asyncio.Transport] = []

    async def main() -> None:
        transport, _ = await loop.create_connection(Buffered, sock=ours)
        transports.append(transport)
        peer.send(b"x")
        await loop.create_future()

    with peer:
        with pytest.raises(error):
            go(loop, main)
        for transport in transports:
            transport.abort()
        finish(loop)


@FATAL
def test_out_of_a_servers_factory(loop: asyncio.AbstractEventLoop, ledger: Ledger, error: type[BaseException]) -> None:
    def factory() -> asyncio.Protocol:
        raise error("made by a test")

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            try:
                await loop.create_future()
            finally:
                server.close()

    with pytest.raises(error):
        go(loop, main)
    finish(loop)
    gc.collect()
    # asyncio makes the protocol in a task that nobody awaits, and leaves the socket to the collector.
    ledger.take_logs("Task exception was never retrieved")
    ledger.take_warnings(ResourceWarning, "unclosed <socket")


@FATAL
def test_out_of_a_clients_factory(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    def factory() -> asyncio.Protocol:
        raise error("made by a test")

    ours, peer = socket_pair("tcp")
    with peer, ours, pytest.raises(error):
        go(loop, lambda: loop.create_connection(factory, sock=ours))
    finish(loop)


def test_an_odd_base_exception_of_a_callback_goes_to_the_handler(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: seen.append(context))

    def callback() -> None:
        raise Odd

    loop.call_soon(callback)
    loop.call_soon(lambda: loop.call_soon(loop.stop))
    loop.run_forever()
    assert isinstance(seen[0]["exception"], Odd)


def test_an_odd_base_exception_of_data_received_ends_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: seen.append(context))

    async def main() -> None:
        lost = loop.create_future()

        class Failing(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                raise Odd

            def connection_lost(self, exc: BaseException | None) -> None:
                lost.set_result(exc)

        _, _, peer = await connect_pair("tcp", Failing)
        with peer:
            peer.send(b"x")
            assert isinstance(await lost, Odd)

    go(loop, main)
    assert isinstance(seen[0]["exception"], Odd)


def test_a_future_may_carry_one(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    loop.call_soon(future.set_exception, Odd())
    with pytest.raises(Odd):
        loop.run_until_complete(future)


def test_cancelled_error_of_a_callback_goes_to_the_handler(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: seen.append(context))

    def callback() -> None:
        raise asyncio.CancelledError

    loop.call_soon(callback)
    loop.call_soon(lambda: loop.call_soon(loop.stop))
    loop.run_forever()
    assert isinstance(seen[0]["exception"], asyncio.CancelledError)
