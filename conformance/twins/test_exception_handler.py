"""What happens to an exception that nobody awaits: the exception handler, its arguments, its own failures."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Ledger
from .support import Recorder, Run, connect_pair, eventually, turns


def bad() -> None:
    raise ValueError("from a callback")


def stop_soon(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(0.002, loop.stop)
    loop.run_forever()


class Catching:
    """An exception handler that keeps what it was told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.got: list[dict[str, Any]] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        loop.set_exception_handler(self)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.loops.append(loop)
        self.got.append(context)


SCHEDULES: dict[str, Callable[[asyncio.AbstractEventLoop], asyncio.Handle]] = {
    "soon": lambda loop: loop.call_soon(bad),
    "later": lambda loop: loop.call_later(0, bad),
    "threadsafe": lambda loop: loop.call_soon_threadsafe(bad),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_failing_callback_is_reported_with_its_handle(
    loop: asyncio.AbstractEventLoop, schedule: Callable[[asyncio.AbstractEventLoop], asyncio.Handle]
) -> None:
    catching = Catching(loop)
    handle = schedule(loop)
    stop_soon(loop)
    (context,) = catching.got
    assert set(context) == {"message", "exception", "handle"}
    assert context["handle"] is handle
    assert isinstance(context["exception"], ValueError)
    assert context["message"].startswith("Exception in callback bad()")
    assert catching.loops == [loop]


def test_in_debug_the_source_traceback_is_there(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    catching = Catching(loop)
    loop.call_soon(bad)
    stop_soon(loop)
    assert any(frame.name.startswith("test_in_debug") for frame in catching.got[0]["source_traceback"])


def test_the_default_handler_logs(loop: asyncio.AbstractEventLoop, ledger: Ledger) -> None:
    loop.call_soon(bad)
    stop_soon(loop)
    (record,) = ledger.take_logs("Exception in callback bad()")
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError
    assert "handle: <Handle bad()" in record.getMessage() or "handle: <" in record.getMessage()


def test_the_default_handler_orders_keys_and_skips_message_and_exception(
    loop: asyncio.AbstractEventLoop, ledger: Ledger
) -> None:
    loop.call_exception_handler({"message": "head", "zeta": 1, "alpha": 2})
    (record,) = ledger.take_logs()
    assert record.getMessage() == "head\nalpha: 2\nzeta: 1"
    loop.call_exception_handler({})
    (record,) = ledger.take_logs()
    assert record.getMessage() == "Unhandled exception in event loop"


def test_a_failing_callback_does_not_stop_the_others(loop: asyncio.AbstractEventLoop) -> None:
    catching, seen = Catching(loop), []
    loop.call_soon(bad)
    loop.call_soon(seen.append, 1)
    loop.call_soon(bad)
    loop.call_soon(seen.append, 2)
    stop_soon(loop)
    assert seen == [1, 2]
    assert len(catching.got) == 2


def test_set_and_get(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.get_exception_handler() is None

    def handler(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None: ...

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    with pytest.raises(TypeError, match="A callable object or None is expected"):
        loop.set_exception_handler(1)  # type: ignore[arg-type]


def test_a_failing_handler_is_reported_by_the_default_one(loop: asyncio.AbstractEventLoop, ledger: Ledger) -> None:
    def handler(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
        raise ZeroDivisionError

    loop.set_exception_handler(handler)
    loop.call_soon(bad)
    stop_soon(loop)
    (record,) = ledger.take_logs("Unhandled error in exception handler")
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_failing_default_handler_is_logged(loop: asyncio.AbstractEventLoop, ledger: Ledger) -> None:
    def broken(_context: dict[str, Any]) -> None:
        raise ZeroDivisionError

    loop.default_exception_handler = broken  # type: ignore[method-assign,assignment]
    loop.call_soon(bad)
    stop_soon(loop)
    del loop.default_exception_handler
    (record,) = ledger.take_logs("Exception in default exception handler")
    assert record.exc_info is not None


def test_call_exception_handler_is_called_through_the_instance(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[dict[str, Any]] = []
    loop.call_exception_handler = seen.append  # type: ignore[method-assign]
    loop.call_soon(bad)
    stop_soon(loop)
    del loop.call_exception_handler
    assert seen[0]["message"].startswith("Exception in callback")


def test_an_exception_nobody_retrieved(run: Run) -> None:
    async def main() -> None:
        catching = Catching(asyncio.get_running_loop())
        future = asyncio.get_running_loop().create_future()
        error = ValueError()
        future.set_exception(error)
        del future
        gc.collect()
        (context,) = catching.got
        assert context["message"] == "Future exception was never retrieved"
        assert context["exception"] is error

    run(main)


def test_a_pending_task_that_goes_with_its_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        asyncio.get_running_loop().create_task(forever())
        await asyncio.sleep(0)

    catching = Catching(loop)
    loop.run_until_complete(main())
    loop.close()
    gc.collect()
    (context,) = catching.got
    assert context["message"] == "Task was destroyed but it is pending!"


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_data_received_that_raises_ends_the_connection(run: Run, family: str) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError("data")

    async def main() -> None:
        catching = Catching(asyncio.get_running_loop())
        transport, protocol, peer = await connect_pair(family, Failing)
        with peer:
            peer.send(b"x")
            error = await protocol.lost
            assert isinstance(error, ValueError)
            assert peer.recv(1) == b""
        (context,) = catching.got
        assert set(context) == {"message", "exception", "transport", "protocol"}
        assert context["message"] == "Fatal error: protocol.data_received() call failed."
        assert context["exception"] is error
        assert context["transport"] is transport
        assert context["protocol"] is protocol

    run(main)


def test_eof_received_that_raises_ends_the_connection(run: Run) -> None:
    class Failing(Recorder):
        def eof_received(self) -> None:
            raise ValueError("eof")

    async def main() -> None:
        catching = Catching(asyncio.get_running_loop())
        _, protocol, peer = await connect_pair("tcp", Failing)
        peer.close()
        error = await protocol.lost
        assert isinstance(error, ValueError)
        (context,) = catching.got
        assert context["message"] == "Fatal error: protocol.eof_received() call failed."
        assert context["exception"] is error

    run(main)


def test_connection_made_that_raises_is_reported_and_the_connection_lives(run: Run) -> None:
    class Failing(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise ValueError("made")

    async def main() -> None:
        catching = Catching(asyncio.get_running_loop())
        transport, protocol, peer = await connect_pair("tcp", Failing)
        with peer:
            (context,) = catching.got
            assert context["message"].startswith("Exception in callback")
            assert isinstance(context["exception"], ValueError)
            peer.send(b"still there")
            assert await protocol.received(11) == b"still there"
            transport.close()
            assert await protocol.lost is None

    run(main)


def test_connection_lost_that_raises_is_reported_and_the_socket_closed(run: Run) -> None:
    class Failing(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise ValueError("lost")

    async def main() -> None:
        catching = Catching(asyncio.get_running_loop())
        transport, protocol, peer = await connect_pair("tcp", Failing)
        transport.close()
        with peer:
            assert await asyncio.to_thread(peer.recv, 1) == b""
        await turns()
        assert protocol.events.count("lost") == 1
        (context,) = catching.got
        assert isinstance(context["exception"], ValueError)

    run(main)


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_flow_control_that_raises_is_reported_and_the_bytes_still_go(run: Run, method: str) -> None:
    async def main() -> None:
        catching = Catching(asyncio.get_running_loop())
        transport, protocol, peer = await connect_pair("unix")

        def raising() -> None:
            raise ValueError(method)

        setattr(protocol, method, raising)
        with peer:
            transport.write(bytes(1 << 20))
            got = 0
            while got < 1 << 20:
                got += len(await asyncio.to_thread(peer.recv, 1 << 16))
            await eventually(lambda: catching.got)
            transport.close()
            await protocol.lost
        (context,) = catching.got
        assert context["message"] == f"protocol.{method}() failed"
        assert context["transport"] is transport
        assert context["protocol"] is protocol
        assert isinstance(context["exception"], ValueError)

    run(main)


def test_a_reader_that_raises_is_reported_and_stays(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        catching = Catching(loop)
        one, other = socket.socketpair()
        with one, other:
            loop.add_reader(one, bad)
            other.send(b"x")
            await eventually(lambda: len(catching.got) >= 2)
            assert loop.remove_reader(one) is True
        assert catching.got[0]["message"].startswith("Exception in callback bad()")

    run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_a_factory_that_raises_refuses_the_connection(run: Run, ledger: Ledger, debug: bool) -> None:
    def factory() -> asyncio.Protocol:
        raise ValueError("factory")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[tuple[str, type]] = []
        # The exception itself must not be kept: in asyncio its traceback would keep the socket open.
        loop.set_exception_handler(lambda _, context: told.append((context["message"], type(context["exception"]))))
        server = await loop.create_server(factory, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            ended = asyncio.create_task(reader.read())
            await eventually(lambda: gc.collect() >= 0 and ended.done())  # asyncio leaves it in a cycle
            assert ended.result() == b""
            writer.close()
            await writer.wait_closed()
        # asyncio tells only in debug mode.
        assert told == [("Error on transport creation for incoming connection", ValueError)] * debug

    run(main, debug=debug)
    ledger.take_warnings(ResourceWarning, "unclosed <socket")  # asyncio leaves the socket to the collector
