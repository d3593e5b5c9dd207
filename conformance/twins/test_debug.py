"""Debug mode: what is slow is named, what is wrong is refused, what was made says where."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import threading
import time

import pytest

from .conftest import Ledger
from .support import LoopFactory, Recorder, Run, connect_pair, turns


def sluggish() -> None:
    time.sleep(0.02)


@pytest.fixture
def debug_loop(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    loop.set_debug(True)
    return loop


def test_the_flag(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False


def test_the_environment_is_asked_when_a_loop_is_made(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in (True, False):
        monkeypatch.setattr(asyncio.coroutines, "_is_debug_mode", lambda answer=answer: answer)
        loop = loop_factory()
        assert loop.get_debug() is answer
        loop.close()


def test_a_slow_callback_is_named(debug_loop: asyncio.AbstractEventLoop, ledger: Ledger) -> None:
    debug_loop.slow_callback_duration = 0.01  # type: ignore[attr-defined]
    debug_loop.call_soon(sluggish)
    debug_loop.call_soon(debug_loop.stop)
    debug_loop.run_forever()
    (record,) = ledger.take_logs("sluggish()")
    assert record.getMessage().startswith("Executing <")
    assert " seconds" in record.getMessage()


def test_a_slow_task_is_named(debug_loop: asyncio.AbstractEventLoop, ledger: Ledger) -> None:
    debug_loop.slow_callback_duration = 0.01  # type: ignore[attr-defined]

    async def slow_step() -> None:
        time.sleep(0.02)  # noqa: ASYNC251 - blocking is the subject

    debug_loop.run_until_complete(slow_step())
    (record,) = ledger.take_logs("slow_step()")
    assert record.getMessage().startswith("Executing <Task ")


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_a_slow_protocol_is_named(run: Run, ledger: Ledger, method: str) -> None:
    def slow(self: Recorder, *args: object) -> None:
        time.sleep(0.1)
        getattr(Recorder, method)(self, *args)

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.09  # type: ignore[attr-defined]
        _, protocol, peer = await connect_pair("unix", type("Slow", (Recorder,), {method: slow}))
        peer.send(b"x")
        peer.close()
        await protocol.lost
        await turns()

    run(main, debug=True)
    (record,) = ledger.take_logs("Executing <")
    assert " took " in record.getMessage()


def test_nothing_is_measured_without_debug(loop: asyncio.AbstractEventLoop) -> None:
    loop.slow_callback_duration = 0.001  # type: ignore[attr-defined]
    loop.call_soon(sluggish)
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_slow_callback_duration_has_the_standard_default(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    assert loop.slow_callback_duration == 0.1  # type: ignore[attr-defined]
    loop.close()


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_the_wrong_thread_is_refused(debug_loop: asyncio.AbstractEventLoop, method: str) -> None:
    errors: list[RuntimeError] = []

    def elsewhere() -> None:
        arguments = (print,) if method == "call_soon" else (0, print)
        try:
            getattr(debug_loop, method)(*arguments)
        except RuntimeError as error:
            errors.append(error)
        finally:
            debug_loop.call_soon_threadsafe(debug_loop.stop)

    thread = threading.Thread(target=elsewhere)
    debug_loop.call_soon(thread.start)
    debug_loop.run_forever()
    thread.join()
    assert str(errors[0]) == "Non-thread-safe operation invoked on an event loop other than the current one"


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at", "call_soon_threadsafe"])
def test_what_cannot_be_called_is_refused(debug_loop: asyncio.AbstractEventLoop, method: str) -> None:
    async def coroutine_function() -> None: ...

    coroutine = coroutine_function()
    before = () if method.startswith("call_soon") else (0,)
    call = getattr(debug_loop, method)
    name = method.replace("later", "(at|later)")  # asyncio's call_later leaves the check to its call_at
    with pytest.raises(TypeError, match=rf"a callable object was expected by {name}\(\), got 'not callable'"):
        call(*before, "not callable")
    with pytest.raises(TypeError, match=rf"coroutines cannot be used with {name}\(\)"):
        call(*before, coroutine)
    with pytest.raises(TypeError, match=rf"coroutines cannot be used with {name}\(\)"):
        call(*before, coroutine_function)
    coroutine.close()


def test_run_in_executor_refuses_coroutines(debug_loop: asyncio.AbstractEventLoop) -> None:
    async def coroutine_function() -> None: ...

    with pytest.raises(TypeError, match=r"coroutines cannot be used with run_in_executor\(\)"):
        debug_loop.run_in_executor(None, coroutine_function)
    with pytest.raises(TypeError, match=r"a callable object was expected by run_in_executor\(\)"):
        debug_loop.run_in_executor(None, "not callable")  # type: ignore[arg-type]


def test_handles_know_where_they_were_made(debug_loop: asyncio.AbstractEventLoop) -> None:
    for handle in (debug_loop.call_soon(sluggish), debug_loop.call_later(9, sluggish), debug_loop.call_at(9, sluggish)):
        last = handle._source_traceback[-1]  # type: ignore[attr-defined]
        assert last.filename == __file__
        assert last.name == "test_handles_know_where_they_were_made"
        handle.cancel()
    threadsafe = debug_loop.call_soon_threadsafe(sluggish)
    assert threadsafe._source_traceback[-1].filename == __file__  # type: ignore[attr-defined]
    threadsafe.cancel()


def test_tasks_and_futures_know_where_they_were_made(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        assert any(frame.filename == __file__ for frame in future._source_traceback)  # type: ignore[attr-defined]
        task = loop.create_task(asyncio.sleep(0))
        assert any(frame.filename == __file__ for frame in task._source_traceback)  # type: ignore[attr-defined]
        await task

    run(main, debug=True)


def test_coroutine_origins_are_tracked_while_it_runs(run: Run) -> None:
    async def main() -> int:
        return sys.get_coroutine_origin_tracking_depth()

    assert run(main) == 0
    assert run(main, debug=True) > 0
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_coroutine_origin_tracking_can_be_switched_while_it_runs(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sys.get_coroutine_origin_tracking_depth() > 0
        loop.set_debug(False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sys.get_coroutine_origin_tracking_depth() == 0

    run(main)


def test_an_unawaited_coroutine_tells_its_origin(run: Run, ledger: Ledger) -> None:
    async def forgotten() -> None: ...

    async def main() -> None:
        forgotten()
        gc.collect()

    run(main, debug=True)
    (text,) = ledger.take_warnings(RuntimeWarning, "was never awaited")
    assert "Coroutine created at" in text


def test_a_blocking_socket_is_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            for awaitable in (
                loop.sock_recv(sock, 1),
                loop.sock_recv_into(sock, bytearray(1)),
                loop.sock_recvfrom(datagram, 1),
                loop.sock_recvfrom_into(datagram, bytearray(1)),
                loop.sock_sendall(sock, b"x"),
                loop.sock_sendto(datagram, b"x", ("127.0.0.1", 9)),
                loop.sock_connect(sock, ("127.0.0.1", 9)),
                loop.sock_accept(sock),
            ):
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await awaitable

    run(main, debug=True)


def test_a_blocking_socket_is_accepted_without_debug_when_it_does_not_block(run: Run) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        with one, other:
            other.send(b"there")
            assert await asyncio.get_running_loop().sock_recv(one, 5) == b"there"

    run(main)
