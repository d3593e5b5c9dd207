"""Pipe transports: what they take, the order of what a protocol is told, both ends going away, flow control."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import os
import pty
import socket
import threading
import tty
from pathlib import Path
from typing import Any

import pytest

from .conftest import Ledger
from .support import LoopFactory, Recorder, Run, eventually, turns


def unbuffered(descriptor: int | str, mode: str) -> Any:
    """The file object over a descriptor, as `subprocess` makes it."""
    return open(descriptor, mode, 0)


async def reading() -> tuple[Any, Recorder, int]:
    """A read transport over a pipe, its protocol, and the number of the other end."""
    near, far = os.pipe()
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_read_pipe(Recorder, unbuffered(near, "rb"))
    return transport, protocol, far


async def writing(kind: str = "pipe") -> tuple[Any, Recorder, int]:
    """A write transport, its protocol, and the number of the other end."""
    loop = asyncio.get_running_loop()
    if kind == "socket":
        ours, peer = socket.socketpair()
        transport, protocol = await loop.connect_write_pipe(Recorder, ours)
        return transport, protocol, peer.detach()
    near, far = os.pipe()
    transport, protocol = await loop.connect_write_pipe(Recorder, unbuffered(far, "wb"))
    return transport, protocol, near


def test_what_is_written_is_read_and_the_end_too(run: Run) -> None:
    async def main() -> list[str]:
        transport, protocol, far = await reading()
        assert isinstance(transport, asyncio.ReadTransport)
        assert transport.is_reading()
        os.write(far, b"one")
        assert await protocol.received(3) == b"one"
        os.write(far, b"two")
        os.close(far)
        assert await protocol.lost is None
        assert protocol.data == b"onetwo"
        assert transport.is_closing()
        return protocol.events

    assert run(main) == ["made", "data", "data", "eof", "lost"]


def test_the_answer_to_the_end_counts_for_nothing(run: Run) -> None:
    class Keeps(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            return True

    async def main() -> None:
        near, far = os.pipe()
        file = unbuffered(near, "rb")
        transport, protocol = await asyncio.get_running_loop().connect_read_pipe(Keeps, file)
        os.close(far)
        assert await protocol.lost is None
        await turns()
        assert file.closed
        assert transport.get_protocol() is None

    run(main)


def test_connection_made_comes_before_the_transport(run: Run) -> None:
    async def main() -> None:
        transport, protocol, far = await reading()
        assert protocol.events == ["made"]
        assert protocol.transport is transport
        assert transport.get_protocol() is protocol
        transport.close()
        await protocol.lost
        os.close(far)

    run(main)


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_regular_file_is_refused(run: Run, direction: str, tmp_path: Path) -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        with open(tmp_path / "file", "w+b", 0) as file:  # noqa: ASYNC230
            connect = loop.connect_read_pipe if direction == "read" else loop.connect_write_pipe
            with pytest.raises(ValueError, match="transport is") as refused:
                await connect(Recorder, file)
            assert not file.closed
            assert os.get_blocking(file.fileno())
            return str(refused.value)

    assert (
        run(main)
        == {
            "read": "Pipe transport is for pipes/sockets only.",
            "write": "Pipe transport is only for pipes, sockets and character devices",
        }[direction]
    )


@pytest.mark.parametrize("direction", ["read", "write"])
def test_what_is_no_file_is_refused(run: Run, direction: str, ledger: Ledger) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        connect = loop.connect_read_pipe if direction == "read" else loop.connect_write_pipe
        with pytest.raises(AttributeError):
            await connect(Recorder, object())
        near, far = os.pipe()
        os.close(far)
        file = unbuffered(near, "rb")
        file.close()
        with pytest.raises(ValueError, match="closed file"):
            await connect(Recorder, file)

    run(main)
    gc.collect()
    ledger.take_unraisable("PipeTransport.__del__")  # asyncio's half-made transport stumbles there


def test_the_descriptor_becomes_non_blocking(run: Run) -> None:
    async def main() -> None:
        transport, protocol, far = await reading()
        assert not os.get_blocking(transport.get_extra_info("pipe").fileno())
        assert os.get_blocking(far)
        transport.close()
        await protocol.lost
        os.close(far)

    run(main)


def test_the_file_is_known_and_closed_after_connection_lost(run: Run) -> None:
    class Looks(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            self.closed = self.transport.get_extra_info("pipe").closed
            super().connection_lost(exc)

    async def main() -> None:
        near, far = os.pipe()
        file = unbuffered(near, "rb")
        transport, protocol = await asyncio.get_running_loop().connect_read_pipe(Looks, file)
        assert transport.get_extra_info("pipe") is file
        assert transport.get_extra_info("socket", "none") == "none"
        assert "open" in repr(transport) or "polling" in repr(transport)
        transport.close()
        transport.close()
        assert "closing" in repr(transport)
        assert not file.closed
        await protocol.lost
        assert not protocol.closed
        await turns()
        assert file.closed
        assert transport.get_extra_info("pipe") is file
        assert "closed" in repr(transport)
        os.close(far)

    run(main)


def test_attributes_and_weak_references(run: Run) -> None:
    import weakref

    async def main() -> None:
        transport, protocol, far = await reading()
        transport.label = "mine"
        assert weakref.ref(transport)() is transport
        transport.close()
        await protocol.lost
        os.close(far)

    run(main)


def test_nothing_is_told_while_reading_is_paused(run: Run) -> None:
    async def main() -> None:
        transport, protocol, far = await reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        os.write(far, b"later")
        await turns(10)
        assert protocol.events == ["made"]
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        assert await protocol.received(5) == b"later"
        transport.pause_reading()
        os.close(far)
        await turns(10)
        assert protocol.events == ["made", "data"]
        transport.resume_reading()
        assert await protocol.lost is None
        assert not transport.is_reading()

    run(main)


def test_a_protocol_that_pauses_in_the_middle_loses_nothing(run: Run) -> None:
    class Pauses(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        near, far = os.pipe()
        loop = asyncio.get_running_loop()
        file = unbuffered(near, "rb")
        transport, protocol = await loop.connect_read_pipe(Pauses, file)
        for round_ in range(1, 6):
            os.write(far, b"x" * 50_000)
            if round_ == 5:
                os.close(far)
            assert await protocol.received(round_ * 50_000)
            await turns()
            assert not protocol.lost.done()
            transport.resume_reading()
        assert await protocol.lost is None
        assert protocol.data == b"x" * 250_000

    run(main)


def test_pausing_in_connection_made(run: Run) -> None:
    class Pauses(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        near, far = os.pipe()
        os.write(far, b"early")
        os.close(far)
        file = unbuffered(near, "rb")
        transport, protocol = await asyncio.get_running_loop().connect_read_pipe(Pauses, file)
        await turns(10)
        assert protocol.events == ["made"]
        transport.resume_reading()
        assert await protocol.lost is None
        assert protocol.data == b"early"

    run(main)


def test_a_megabyte_and_the_end_in_one_go(run: Run) -> None:
    async def main() -> None:
        _, protocol, far = await reading()
        data = os.urandom(1 << 20)

        def write() -> None:
            with unbuffered(far, "wb") as file:
                file.write(data)

        writer = threading.Thread(target=write)
        writer.start()
        assert await protocol.lost is None
        writer.join()
        assert protocol.data == data

    run(main)


def test_a_protocol_that_raises_is_reported_and_read_on(run: Run, ledger: Ledger) -> None:
    class Raises(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise ZeroDivisionError

        def eof_received(self) -> bool | None:
            super().eof_received()
            raise ArithmeticError

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise LookupError

    async def main() -> list[type[BaseException]]:
        loop = asyncio.get_running_loop()
        told: list[type[BaseException]] = []
        loop.set_exception_handler(lambda _, context: told.append(type(context["exception"])))
        near, far = os.pipe()
        file = unbuffered(near, "rb")
        _, protocol = await loop.connect_read_pipe(Raises, file)
        os.write(far, b"1")
        await protocol.received(1)
        os.write(far, b"2")
        await protocol.received(2)
        os.close(far)
        assert await protocol.lost is None
        await turns()
        assert file.closed
        return told

    assert run(main) == [ZeroDivisionError, ZeroDivisionError, ArithmeticError, LookupError]


def test_a_read_error_is_reported_and_told(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        contexts: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        # A listening socket is "readable" when somebody knocks, and cannot be read.
        listener = socket.create_server(("127.0.0.1", 0))
        transport, protocol = await loop.connect_read_pipe(Recorder, listener)
        with socket.create_connection(listener.getsockname()):
            error = await protocol.lost
        assert isinstance(error, OSError)
        assert error.errno == errno.ENOTCONN or error.errno == errno.EINVAL
        assert [context["message"] for context in contexts] == ["Fatal read error on pipe transport"]
        assert contexts[0]["transport"] is transport

    run(main)


def test_the_other_side_of_a_terminal_that_closes_is_no_report(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: pytest.fail(str(context)))
        master, slave = pty.openpty()
        file = unbuffered(master, "rb")
        _, protocol = await loop.connect_read_pipe(Recorder, file)
        os.write(slave, b"bye\n")
        await protocol.received(3)
        os.close(slave)
        error = await protocol.lost
        assert isinstance(error, OSError)
        assert error.errno == errno.EIO

    run(main)


def test_a_terminal_gives_line_after_line(run: Run) -> None:
    # One read gives one line, so whoever waits for the next edge would wait for ever.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        file = unbuffered(slave, "rb")
        transport, protocol = await loop.connect_read_pipe(Recorder, file)
        os.write(master, b"one\ntwo\nthree\n")
        assert await protocol.received(14) == b"one\ntwo\nthree\n"
        transport.pause_reading()
        os.write(master, b"four\nfive\n")
        await turns(10)
        assert len(protocol.data) == 14
        transport.resume_reading()
        assert (await protocol.received(24)).endswith(b"four\nfive\n")
        transport.close()
        await protocol.lost
        os.close(master)

    run(main)


def test_one_terminal_read_and_written_under_one_number(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        tty.setraw(slave)
        reader_file = unbuffered(master, "rb")
        writer_file = open(master, "wb", 0, closefd=False)  # noqa: ASYNC230, SIM115
        reader, read = await loop.connect_read_pipe(Recorder, reader_file)
        writer, written = await loop.connect_write_pipe(Recorder, writer_file)
        # More than the terminal holds, so that the loop must wait for room, while it also waits to read.
        writer.write(b"a" * 100_000)
        os.write(slave, b"back")
        assert await read.received(4) == b"back"
        os.set_blocking(slave, False)
        count = 0

        async def drain() -> None:
            nonlocal count
            while count < 100_000:
                try:
                    count += len(os.read(slave, 65536))
                except BlockingIOError:
                    await asyncio.sleep(0)

        await asyncio.wait_for(drain(), 10)
        os.write(slave, b"more")
        assert await read.received(8) == b"backmore"
        writer.close()
        assert await written.lost is None
        reader.close()
        await read.lost
        await turns()
        reader_file.close()
        writer_file.close()
        os.close(slave)

    run(main)


def test_a_pipe_of_packets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        near, far = os.pipe2(os.O_DIRECT)
        for packet in (b"one", b"two", b"three"):
            os.write(far, packet)
        file = unbuffered(near, "rb")
        _, protocol = await loop.connect_read_pipe(Recorder, file)
        assert await protocol.received(11) == b"onetwothree"
        os.close(far)
        assert await protocol.lost is None

    run(main)


def test_datagrams_are_read_one_by_one(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair(type=socket.SOCK_DGRAM)
        for packet in (b"one", b"two", b"three"):
            peer.send(packet)
        transport, protocol = await loop.connect_read_pipe(Recorder, ours)
        assert await protocol.received(11) == b"onetwothree"
        transport.close()
        await protocol.lost
        peer.close()

    run(main)


def test_what_cannot_be_waited_for_connects_and_is_reported(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        errors: list[BaseException] = []
        loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
        file = unbuffered("/dev/null", "rb")
        transport, protocol = await loop.connect_read_pipe(Recorder, file)
        await turns()
        assert [type(error) for error in errors] == [PermissionError]
        transport.close()
        assert await protocol.lost is None

    run(main)


def test_the_null_device_is_written(run: Run) -> None:
    async def main() -> None:
        file = unbuffered("/dev/null", "wb")
        transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Recorder, file)
        transport.write(b"x" * 1_000_000)
        assert transport.get_write_buffer_size() == 0
        transport.close()
        assert await protocol.lost is None

    run(main)


def test_a_named_pipe(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = tmp_path / "fifo"
        os.mkfifo(path)
        reader = unbuffered(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
        _, read = await loop.connect_read_pipe(Recorder, reader)
        await turns(10)
        assert read.events == ["made"]  # nobody has written yet, which is not the end
        writer = unbuffered(os.open(path, os.O_WRONLY), "wb")
        transport, written = await loop.connect_write_pipe(Recorder, writer)
        transport.write(b"through a name")
        assert await read.received(14) == b"through a name"
        transport.close()
        assert await written.lost is None
        assert await read.lost is None

    run(main)


def test_contexts(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    class Notes(Recorder):
        def connection_made(self, transport: Any) -> None:
            seen.append(variable.get())
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            seen.append(variable.get())
            super().data_received(data)

        def connection_lost(self, exc: BaseException | None) -> None:
            seen.append(variable.get())
            super().connection_lost(exc)

    async def main() -> None:
        variable.set("maker's")
        near, far = os.pipe()
        file = unbuffered(near, "rb")
        _, protocol = await asyncio.get_running_loop().connect_read_pipe(Notes, file)
        variable.set("later")
        os.write(far, b"x")
        await protocol.received(1)
        os.close(far)
        await protocol.lost

    run(main)
    assert seen == ["maker's"] * 3


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_written_arrives_and_the_end_too(run: Run, kind: str) -> None:
    async def main() -> list[str]:
        transport, protocol, near = await writing(kind)
        assert isinstance(transport, asyncio.WriteTransport)
        with pytest.raises(NotImplementedError):  # uvloop's tests ask so of a child's stdin
            transport.pause_reading()  # type: ignore[attr-defined]
        assert transport.can_write_eof()
        transport.write(b"one ")
        transport.write(bytearray(b"two "))
        transport.write(memoryview(b"three "))
        transport.writelines([b"four ", b"five"])
        transport.write(b"")
        transport.write_eof()
        assert transport.is_closing()
        assert await protocol.lost is None
        with unbuffered(near, "rb") as file:
            assert file.read() == b"one two three four five"
        return protocol.events

    assert run(main) == ["made", "lost"]


def test_a_buffer_that_is_full_is_drained_before_the_end(run: Run) -> None:
    async def main() -> list[str]:
        transport, protocol, near = await writing()
        data = os.urandom(1 << 20)
        transport.write(data)
        assert transport.get_write_buffer_size() > 0
        transport.close()
        transport.close()
        await turns()
        assert not protocol.lost.done()

        def read() -> bytes:
            with unbuffered(near, "rb") as file:
                return file.read()

        assert await asyncio.to_thread(read) == data
        assert await protocol.lost is None
        return protocol.events

    assert run(main) == ["made", "pause", "resume", "lost"]


def test_flow_control_follows_the_limits(run: Run) -> None:
    async def main() -> None:
        transport, protocol, near = await writing()
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=1, low=2)
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(low=-1)
        os.set_blocking(near, False)
        capacity = 65536
        transport.write(b"x" * (capacity + 900))
        await turns()
        assert protocol.events == ["made"]
        transport.write(b"x" * 200)
        await turns()
        assert protocol.events == ["made", "pause"]
        os.read(near, capacity)
        await eventually(lambda: protocol.events == ["made", "pause", "resume"])
        transport.close()
        assert await protocol.lost is None
        os.close(near)

    run(main)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("full", [False, True])
def test_a_reader_that_goes_away_is_noticed(run: Run, kind: str, full: bool) -> None:
    async def main() -> None:
        transport, protocol, near = await writing(kind)
        if full:
            transport.write(b"x" * (1 << 20))
            assert transport.get_write_buffer_size() > 0
        os.close(near)
        error = await protocol.lost
        if full:
            assert isinstance(error, (BrokenPipeError, ConnectionResetError))
        else:
            assert error is None
        assert transport.is_closing()
        assert protocol.events == (["made", "pause", "lost"] if full else ["made", "lost"])

    run(main)


def test_a_reader_that_has_gone_breaks_the_write(run: Run) -> None:
    async def main() -> None:
        transport, protocol, near = await writing()
        os.close(near)
        transport.write(b"into the void")
        assert isinstance(await protocol.lost, BrokenPipeError)

    run(main)


def test_a_reader_that_goes_while_the_end_waits(run: Run) -> None:
    async def main() -> None:
        transport, protocol, near = await writing()
        transport.write(b"x" * (1 << 20))
        transport.write_eof()
        os.close(near)
        assert isinstance(await protocol.lost, BrokenPipeError)
        assert protocol.events == ["made", "pause", "lost"]

    run(main)


def test_whoever_drains_hears_of_the_loss(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        near, far = os.pipe()
        file = unbuffered(far, "wb")
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, file)
        transport.write(b"x" * (1 << 20))
        waiting = asyncio.create_task(protocol._drain_helper())
        await turns()
        assert not waiting.done()
        os.close(near)
        with pytest.raises(BrokenPipeError):
            await waiting

    run(main)


def test_abort_drops_what_waits(run: Run) -> None:
    async def main() -> None:
        transport, protocol, near = await writing()
        transport.write(b"x" * (1 << 20))
        transport.abort()
        assert protocol.events == ["made", "pause"]
        assert await protocol.lost is None
        assert transport.get_write_buffer_size() == 0
        with unbuffered(near, "rb") as file:
            assert len(file.read()) == 65536

    run(main)


def test_what_was_written_right_before_abort_has_gone(run: Run) -> None:
    async def main() -> None:
        transport, protocol, near = await writing()
        transport.write(b"last words")
        transport.abort()
        assert await protocol.lost is None
        with unbuffered(near, "rb") as file:
            assert file.read() == b"last words"

    run(main)


def test_writes_after_the_end_are_dropped_and_at_last_logged(run: Run, ledger: Ledger) -> None:
    async def main() -> None:
        transport, protocol, near = await writing()
        transport.close()
        for _ in range(7):
            transport.write(b"nobody")
        assert await protocol.lost is None
        with unbuffered(near, "rb") as file:
            assert file.read() == b""

    run(main)
    logged = ledger.take_logs("pipe closed by peer or os.write")
    assert len(logged) == 2


@pytest.mark.parametrize("data", ["text", 5, None])
def test_what_is_no_bytes_is_refused(run: Run, data: Any) -> None:
    async def main() -> None:
        transport, protocol, near = await writing()
        # asyncio asserts here, which -O takes away.
        with pytest.raises((TypeError, AssertionError)):
            transport.write(data)
        transport.close()
        await protocol.lost
        os.close(near)

    run(main)


def test_a_socket_that_is_written_ends_when_something_comes_back(run: Run) -> None:
    async def main() -> None:
        _, protocol, peer = await writing("socket")
        os.write(peer, b"?")
        assert await protocol.lost is None
        os.close(peer)

    run(main)


# --- the end of the loop ----------------------------------------------------------------------------------------------


def test_a_transport_that_is_dropped_open_warns(loop_factory: LoopFactory, ledger: Ledger) -> None:
    loop = loop_factory()

    async def main() -> tuple[Any, Any]:
        (reader, _, far), (writer, _, near) = await reading(), await writing()
        os.close(far)
        os.close(near)
        return reader.get_extra_info("pipe"), writer.get_extra_info("pipe")

    # The loop never turns again, so nobody hears of the ends.
    files = loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
    assert all(file.closed for file in files)
    ledger.take_warnings(ResourceWarning, "unclosed transport")


def test_debug_mode_tells_of_the_ends(run: Run, ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="asyncio")

    async def main() -> None:
        _, read, far = await reading()
        _, written, near = await writing()
        os.close(far)
        os.close(near)
        await read.lost
        await written.lost

    run(main, debug=True)
    assert caplog.text.count("was closed by peer") == 2
    assert "Read pipe" in caplog.text
    assert "Write pipe" in caplog.text


def test_streams_over_pipes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        near, far = os.pipe()
        reader = asyncio.StreamReader(limit=1000)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_read_pipe(lambda: protocol, unbuffered(near, "rb"))
        writing, flow = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin,
            unbuffered(far, "wb"),
        )
        writer = asyncio.StreamWriter(writing, flow, None, loop)

        async def write() -> None:
            for number in range(1000):
                writer.write(b"line %d\n" % number)
                await writer.drain()
            writer.close()

        task = asyncio.create_task(write())
        lines = [line async for line in reader]
        await task
        assert lines == [b"line %d\n" % number for number in range(1000)]
        transport.close()

    run(main)


def test_a_buffered_text_file_is_taken_by_its_descriptor(run: Run) -> None:
    async def main() -> None:
        near, far = os.pipe()
        file = open(near, "rb", 1024)  # noqa: ASYNC230, SIM115
        transport, protocol = await asyncio.get_running_loop().connect_read_pipe(Recorder, file)
        os.write(far, b"bytes")
        assert await protocol.received(5) == b"bytes"
        transport.close()
        await protocol.lost
        os.close(far)

    run(main)
