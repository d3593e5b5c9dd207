"""Stream transports in the corners: calls in one callback that fight each other, protocols patched, loops stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from .support import (
    BufferedRecorder,
    Recorder,
    Run,
    connect_pair,
    eventually,
    receive_exactly,
    receive_in_turns,
    reset,
    small_buffers,
    socket_pair,
    turns,
)

FAMILIES = pytest.mark.parametrize("family", ["tcp", "unix"])


@FAMILIES
def test_what_is_written_after_close_is_dropped(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        transport.write(b"before")
        transport.close()
        transport.write(b" after")
        assert await receive_exactly(peer, 100) == b"before"
        assert await protocol.lost is None
        peer.close()

    run(main)


def test_what_is_written_after_abort_is_dropped(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.abort()
        transport.write(b"after")
        assert await receive_exactly(peer, 100) == b""
        assert await protocol.lost is None
        peer.close()

    run(main)


def test_what_is_written_right_before_abort_has_gone(run: Run) -> None:
    # asyncio sends at once, so programs write a last word and abort.
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.write(b"last ")
        transport.write(b"words")
        transport.abort()
        assert await protocol.lost is None
        assert await receive_exactly(peer, 100) == b"last words"
        peer.close()

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_what_is_written_right_before_an_exception_has_gone(
    loop: asyncio.AbstractEventLoop, error: type[BaseException]
) -> None:
    loop.set_exception_handler(lambda _loop, _context: None)
    transport, protocol, peer = loop.run_until_complete(connect_pair("unix"))

    def failing() -> None:
        transport.write(b"last ")
        transport.write(b"words")
        raise error("made by a test")

    loop.call_soon(failing)
    try:
        loop.run_until_complete(turns())
    except (KeyboardInterrupt, SystemExit) as caught:
        assert type(caught) is error
    assert peer.recv(100) == b"last words"
    transport.close()
    loop.run_until_complete(turns())
    loop.run_until_complete(protocol.lost)
    peer.close()


def test_what_is_written_while_the_loop_stands_goes_out(loop: asyncio.AbstractEventLoop) -> None:
    transport, protocol, peer = loop.run_until_complete(connect_pair("unix"))
    transport.write(b"one ")
    transport.writelines([b"two ", b"three"])
    assert peer.recv(100) == b"one two three"
    transport.close()
    loop.run_until_complete(protocol.lost)
    peer.close()


def test_what_comes_while_the_loop_stands_is_read_when_it_goes_on(loop: asyncio.AbstractEventLoop) -> None:
    transport, protocol, peer = loop.run_until_complete(connect_pair("tcp"))
    for number in range(3):
        peer.send(bytes([number]) * 10)
        loop.run_until_complete(protocol.received(10 * (number + 1)))
    peer.send(b"last")
    peer.close()
    loop.run_until_complete(protocol.lost)
    assert protocol.data.endswith(b"last")
    assert transport.is_closing()


def test_stopping_in_data_received_loses_nothing(loop: asyncio.AbstractEventLoop) -> None:
    class Stopping(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            asyncio.get_running_loop().stop()

    transport, protocol, peer = loop.run_until_complete(connect_pair("unix", Stopping))
    payload = bytes(range(256)) * 400
    peer.sendall(payload)
    while len(protocol.data) < len(payload):
        loop.run_forever()
    assert protocol.data == payload
    transport.close()
    loop.run_until_complete(protocol.lost)
    peer.close()


def test_methods_of_a_protocol_can_be_replaced(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        seen: list[bytes] = []
        peer.send(b"one")
        await protocol.received(3)
        protocol.data_received = seen.append
        peer.send(b"two")
        await eventually(lambda: seen == [b"two"])
        del protocol.data_received
        peer.send(b"three")
        await protocol.received(8)
        protocol.connection_lost = lambda exc: (seen.append(b"lost"), protocol.lost.set_result(exc))
        peer.close()
        await protocol.lost
        assert seen == [b"two", b"lost"]
        assert transport.is_closing()

    run(main)


def test_methods_of_a_buffered_protocol_can_be_replaced(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", BufferedRecorder)
        peer.send(b"one")
        await protocol.received(3)
        other, seen = bytearray(100), []
        protocol.get_buffer = lambda hint: other
        protocol.buffer_updated = seen.append
        peer.send(b"two!")
        await eventually(lambda: seen == [4])
        assert other.startswith(b"two!")
        transport.close()
        await protocol.lost
        peer.close()

    run(main)


def test_write_of_a_transport_can_be_replaced(run: Run) -> None:
    async def main() -> None:
        ours, peer = socket_pair("unix")
        _, writer = await asyncio.open_unix_connection(sock=ours)
        seen: list[bytes] = []
        writer.transport.write = seen.append  # type: ignore[method-assign]
        writer.write(b"caught")
        assert seen == [b"caught"]
        del writer.transport.write
        writer.write(b"sent")
        assert await receive_exactly(peer, 4) == b"sent"
        writer.close()
        await writer.wait_closed()
        peer.close()

    run(main)


def test_only_a_subclass_is_a_buffered_protocol(run: Run) -> None:
    class Alike(Recorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            raise AssertionError("this is no BufferedProtocol")

        def buffer_updated(self, nbytes: int) -> None:
            raise AssertionError("this is no BufferedProtocol")

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", Alike)
        peer.send(b"plain")
        assert await protocol.received(5) == b"plain"
        transport.close()
        await protocol.lost
        peer.close()

    run(main)


def test_pausing_and_resuming_inside_data_received(run: Run) -> None:
    class Wavering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            self.transport.resume_reading()

    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix", Wavering)
        payload = bytes(range(256)) * 2000
        sending = asyncio.create_task(asyncio.to_thread(peer.sendall, payload))
        assert await protocol.received(len(payload)) == payload
        await sending
        peer.close()
        assert await protocol.lost is None
        assert not transport.is_reading()

    run(main)


def test_resuming_from_a_callback_of_the_same_turn(run: Run) -> None:
    class Stuttering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix", Stuttering)
        payload = bytes(range(256)) * 2000
        sending = asyncio.create_task(asyncio.to_thread(peer.sendall, payload))
        assert await protocol.received(len(payload)) == payload
        await sending
        peer.close()
        assert await protocol.lost is None
        assert transport.is_closing()

    run(main)


@pytest.mark.parametrize("action", ["close", "abort", "pause_reading"])
def test_a_callback_ahead_of_the_data_wins(run: Run, action: str) -> None:
    # The data is there before the turn begins, the call comes from a callback of an earlier one.
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        peer.send(b"too late")
        getattr(transport, action)()
        await turns(10)
        assert protocol.data == b""
        transport.abort()
        await protocol.lost
        assert "data" not in protocol.events
        peer.close()

    run(main)


def test_two_transports_on_the_two_ends_of_one_pair(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        first, protocol = await loop.create_connection(Recorder, sock=one)
        second, mate = await loop.create_connection(Recorder, sock=other)
        first.write(b"ping")
        assert await mate.received(4) == b"ping"
        second.write(b"pong")
        assert await protocol.received(4) == b"pong"
        first.close()
        assert await mate.lost is None
        assert await protocol.lost is None

    run(main)


@pytest.mark.parametrize("ending", ["close", "write_eof"])
def test_an_end_in_the_middle_of_pausing(run: Run, ending: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        payload = bytes(1 << 20)
        transport.write(payload)
        assert protocol.events == ["made", "pause"]
        getattr(transport, ending)()
        assert await receive_in_turns(peer, len(payload) + 1) == payload
        if ending == "write_eof":
            transport.close()
        assert await protocol.lost is None
        assert protocol.events.count("lost") == 1
        peer.close()

    run(main)


@FAMILIES
def test_closing_from_pause_writing(run: Run, family: str) -> None:
    class Impatient(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            self.transport.abort()

    async def main() -> None:
        transport, protocol, peer = await connect_pair(family, Impatient)
        transport.write(bytes(1 << 24))
        assert await protocol.lost is None
        assert protocol.events == ["made", "pause", "lost"]
        assert transport.get_write_buffer_size() == 0
        peer.close()

    run(main)


def test_a_protocol_swapped_while_paused_for_writing(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.write(bytes(1 << 20))
        assert protocol.events == ["made", "pause"]
        other = Recorder()
        transport.set_protocol(other)
        await receive_in_turns(peer, 1 << 20)
        await eventually(lambda: other.events == ["resume"])
        transport.close()
        assert await other.lost is None
        assert protocol.events == ["made", "pause"]
        peer.close()

    run(main)


Made = Callable[[Any], None]


@pytest.mark.parametrize("how", ["stop", "close the server", "close the connection"])
def test_a_server_in_the_middle_of_connection_made(run: Run, how: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Any] = []

        class Accepted(Recorder):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                made.append(self)
                if how == "close the server":
                    server.close()
                elif how == "close the connection":
                    transport.close()

        server = await loop.create_server(Accepted, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            await eventually(lambda: made)
            if how == "close the connection":
                assert await asyncio.to_thread(client.recv, 1) == b""
            else:
                client.send(b"still served")
                assert await made[0].received(12) == b"still served"
                made[0].transport.close()
            await made[0].lost
        server.close()

    run(main)


@FAMILIES
def test_a_protocol_that_writes_and_then_fails_has_written(run: Run, family: str) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"error ")
            self.transport.write(b"report")
            raise ValueError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        _, protocol, peer = await connect_pair(family, Failing)
        peer.send(b"x")
        assert isinstance(await protocol.lost, ValueError)
        assert await receive_exactly(peer, 12) == b"error report"
        peer.close()

    run(main)


def test_a_reset_while_closing_with_bytes_left(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        small_buffers(transport.get_extra_info("socket"))
        transport.write(bytes(1 << 23))
        transport.close()
        await turns()
        assert not protocol.lost.done()
        reset(peer)
        error = await asyncio.wait_for(protocol.lost, 5)
        assert isinstance(error, (ConnectionResetError, BrokenPipeError))

    run(main)


def test_a_peer_that_vanishes_while_closing_with_bytes_left(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.write(bytes(1 << 23))
        transport.close()
        await turns()
        assert not protocol.lost.done()
        peer.close()
        error = await asyncio.wait_for(protocol.lost, 5)
        assert isinstance(error, (ConnectionResetError, BrokenPipeError))

    run(main)


def test_a_listening_socket_that_breaks_is_reported_and_the_loop_lives(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        listener = socket.create_server(("127.0.0.1", 0))
        server = await loop.create_server(Recorder, sock=listener)
        listener.shutdown(socket.SHUT_RDWR)
        await eventually(lambda: told)
        server.close()
        assert isinstance(told[0]["exception"], OSError)
        assert loop.is_running()

    run(main)
