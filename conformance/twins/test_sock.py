"""The sock_* coroutines: what they return, and that one may cancel them without losing anything."""

from __future__ import annotations

import array
import asyncio
import inspect
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from .support import LoopFactory, Run, eventually, receive_exactly, reset, small_buffers, turns
from .versions import is_asyncio

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "unix":
        one, other = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other


@pytest.fixture
def datagrams() -> Iterator[Pair]:
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        yield one, other


METHODS = [
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_connect",
    "sock_accept",
    "sock_sendfile",
]


@pytest.mark.parametrize("method", METHODS)
def test_they_are_coroutine_functions(loop: asyncio.AbstractEventLoop, method: str) -> None:
    assert inspect.iscoroutinefunction(getattr(loop, method))


def test_recv_of_what_is_there_and_what_comes(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        other.send(b"there")
        assert await loop.sock_recv(one, 100) == b"there"
        task = asyncio.create_task(loop.sock_recv(one, 100))
        await turns()
        assert not task.done()
        other.send(b"later")
        assert await task == b"later"

    run(main)


def test_recv_returns_at_most_so_many(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        other.send(b"abcdef")
        await eventually(lambda: len(one.recv(10, socket.MSG_PEEK)) == 6)
        assert await loop.sock_recv(one, 4) == b"abcd"
        assert await loop.sock_recv(one, 4) == b"ef"

    run(main)


def test_recv_at_the_end(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        task = asyncio.create_task(loop.sock_recv(one, 10))
        await turns()
        other.close()
        assert await task == b""
        assert await loop.sock_recv(one, 10) == b""

    run(main)


def test_recv_after_a_reset(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
        with one:
            one.setblocking(False)
            task = asyncio.create_task(loop.sock_recv(one, 10))
            await turns()
            reset(other)
            with pytest.raises(ConnectionResetError):
                await task

    run(main)


@pytest.mark.parametrize("late", [False, True])
def test_recv_into(run: Run, pair: Pair, late: bool) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        buffer = bytearray(10)
        if not late:
            other.send(b"data")
        task = asyncio.create_task(loop.sock_recv_into(one, buffer))
        await turns()
        if late:
            other.send(b"data")
        assert await task == 4
        assert buffer == b"data" + bytes(6)
        other.send(b"more")
        assert await loop.sock_recv_into(one, memoryview(buffer)[4:6]) == 2
        assert buffer == b"datamo" + bytes(4)

    run(main)


def test_recv_into_what_cannot_be_written(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        other.send(b"data")
        for wrong in (b"read only", memoryview(bytearray(10))[::2], "text", None):
            with pytest.raises(TypeError):
                await loop.sock_recv_into(one, wrong)  # type: ignore[arg-type]

    run(main)


def test_recv_into_buffers_of_other_items_than_bytes(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        buffer: Any
        for buffer in (
            array.array("i", [0, 0]),
            memoryview(bytearray(8)).cast("d"),
            memoryview(bytearray(8)).cast("B", (2, 4)),
        ):
            other.send(b"01234567")
            assert await loop.sock_recv_into(one, buffer) == 8
            assert bytes(memoryview(buffer).cast("B")) == b"01234567"

    run(main)


def test_sendall_of_items_that_are_no_bytes(run: Run, loop_factory: LoopFactory, pair: Pair) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio counts items where the kernel counts bytes")

    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        for data in (
            array.array("i", [1, 2]),
            memoryview(b"01234567").cast("d"),
            memoryview(b"01234567").cast("B", (2, 4)),
        ):
            await loop.sock_sendall(one, data)
            assert await receive_exactly(other, 8) == bytes(data)

    run(main)


@pytest.mark.parametrize("late", [False, True])
def test_recvfrom(run: Run, datagrams: Pair, late: bool) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), datagrams
        if not late:
            other.sendto(b"data", one.getsockname())
        task = asyncio.create_task(loop.sock_recvfrom(one, 100))
        await turns()
        if late:
            other.sendto(b"data", one.getsockname())
        assert await task == (b"data", other.getsockname())

    run(main)


@pytest.mark.parametrize("late", [False, True])
def test_recvfrom_into(run: Run, datagrams: Pair, late: bool) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), datagrams
        buffer = bytearray(10)
        if not late:
            other.sendto(b"data", one.getsockname())
        task = asyncio.create_task(loop.sock_recvfrom_into(one, buffer))
        await turns()
        if late:
            other.sendto(b"data", one.getsockname())
        assert await task == (4, other.getsockname())
        assert buffer == b"data" + bytes(6)
        other.sendto(b"abcdef", one.getsockname())
        assert await loop.sock_recvfrom_into(one, buffer, 2) == (2, other.getsockname())

    run(main)


def test_sendto(run: Run, datagrams: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), datagrams
        assert await loop.sock_sendto(one, b"data", other.getsockname()) == 4
        assert await loop.sock_recvfrom(other, 100) == (b"data", one.getsockname())
        assert await loop.sock_sendto(one, b"", other.getsockname()) == 0
        assert await loop.sock_recvfrom(other, 100) == (b"", one.getsockname())

    run(main)


def test_datagrams_over_ipv6_have_four_parts(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.bind(("::1", 0))
            one.setblocking(False)
            assert await loop.sock_sendto(one, b"self", one.getsockname()) == 4
            data, address = await loop.sock_recvfrom(one, 10)
            assert data == b"self"
            assert address == one.getsockname()
            assert len(address) == 4

    run(main)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sendall_of_every_kind_of_bytes(run: Run, pair: Pair, kind: type) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        assert await loop.sock_sendall(one, kind(b"data")) is None
        assert await loop.sock_recv(other, 10) == b"data"
        assert await loop.sock_sendall(one, kind(b"")) is None

    run(main)


def test_sendall_of_much(run: Run, pair: Pair) -> None:
    payload = bytes(range(256)) * 8192

    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        small_buffers(one, other)
        sending = asyncio.create_task(loop.sock_sendall(one, payload))
        got = bytearray()
        while len(got) < len(payload):
            got += await loop.sock_recv(other, 65536)
        await sending
        assert got == payload

    run(main)


def test_sendall_to_nobody(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        small_buffers(one, other)
        sending = asyncio.create_task(loop.sock_sendall(one, bytes(1 << 22)))
        await turns()
        assert not sending.done()
        other.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await sending

    run(main)


def test_accept(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            for late in (False, True):
                task = asyncio.create_task(loop.sock_accept(listener))
                if late:
                    await turns()
                with socket.create_connection(listener.getsockname()) as client:
                    accepted, address = await task
                    with accepted:
                        assert address == client.getsockname()
                        assert accepted.gettimeout() == 0
                        assert accepted.getpeername() == client.getsockname()
                        assert accepted.get_inheritable() is False

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connect(run: Run, host: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.setblocking(False)
            assert await loop.sock_connect(client, (host, listener.getsockname()[1])) is None
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getpeername() == client.getsockname()

    run(main)


def test_connect_over_unix(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind("")  # the kernel picks a free abstract name
            listener.listen()
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            accepted, _ = listener.accept()
            accepted.close()

    run(main)


def test_connect_that_is_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as free, socket.socket() as client:
            free.bind(("127.0.0.1", 0))
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, free.getsockname())
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            with pytest.raises(FileNotFoundError):
                await loop.sock_connect(client, "/nonexistent/socket")

    run(main)


def test_cancelled_recv_loses_nothing(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        task = asyncio.create_task(loop.sock_recv(one, 10))
        await turns()
        task.cancel()
        other.send(b"kept")  # readable before the cancellation is delivered
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(loop.sock_recv(one, 10), 5) == b"kept"

    run(main)


def test_cancelling_leaves_no_registration(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        reading = [loop.sock_recv(one, 1), loop.sock_recv_into(one, bytearray(1))]
        for coroutine in reading:
            task = asyncio.create_task(coroutine)
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns()
            assert loop.remove_reader(one) is False
        small_buffers(one, other)
        task = asyncio.create_task(loop.sock_sendall(one, bytes(1 << 22)))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns()
        assert loop.remove_writer(one) is False

    run(main)


def test_cancelled_accept_loses_no_connection(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            task = asyncio.create_task(loop.sock_accept(listener))
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with socket.create_connection(listener.getsockname()) as client:
                accepted, address = await asyncio.wait_for(loop.sock_accept(listener), 5)
                accepted.close()
                assert address == client.getsockname()

    run(main)


def test_cancelled_sendall_stops_sending(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        small_buffers(one, other)
        task = asyncio.create_task(loop.sock_sendall(one, b"a" * (1 << 22)))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        one.shutdown(socket.SHUT_WR)
        got = bytearray()
        while data := await loop.sock_recv(other, 65536):
            got += data
        assert 0 < len(got) < 1 << 22

    run(main)


def test_wait_for_around_recv(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(one, 10), 0.001)
        other.send(b"after")
        assert await loop.sock_recv(one, 10) == b"after"

    run(main)


def test_reading_and_writing_one_socket_at_once(run: Run, pair: Pair) -> None:
    payload = bytes(1 << 20)

    async def echo(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        left = len(payload)
        while left:
            data = await loop.sock_recv(sock, 65536)
            left -= len(data)
            await loop.sock_sendall(sock, data)

    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        echoing = asyncio.create_task(echo(loop, other))
        sending = asyncio.create_task(loop.sock_sendall(one, payload))
        left = len(payload)
        while left:
            left -= len(await loop.sock_recv(one, 65536))
        await asyncio.gather(echoing, sending)

    run(main)


def test_sendfile(run: Run, pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    payload = bytes(range(256)) * 2048
    path.write_bytes(payload)

    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        other.setblocking(True)
        other.settimeout(5)
        with path.open("rb") as file:
            receiving = asyncio.create_task(receive_exactly(other, len(payload)))
            assert await loop.sock_sendfile(one, file) == len(payload)
            assert await receiving == payload
            assert file.tell() == len(payload)
            receiving = asyncio.create_task(receive_exactly(other, 1000))
            assert await loop.sock_sendfile(one, file, 100, 1000) == 1000
            assert await receiving == payload[100:1100]
            assert file.tell() == 1100
            assert await loop.sock_sendfile(one, file, len(payload)) == 0

    run(main)


def test_sendfile_of_what_is_no_file_falls_back_or_says_so(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        assert await loop.sock_sendfile(one, io.BytesIO(b"from memory")) == 11
        assert await loop.sock_recv(other, 100) == b"from memory"
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sock_sendfile(one, io.BytesIO(b"from memory"), fallback=False)

    run(main)


def test_sendfile_checks_its_arguments(run: Run, pair: Pair) -> None:
    async def main(text: IO[str], file: IO[bytes]) -> None:
        loop, (one, _) = asyncio.get_running_loop(), pair
        with pytest.raises(ValueError, match="opened in binary mode"):
            await loop.sock_sendfile(one, text)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="offset must be a non-negative integer"):
            await loop.sock_sendfile(one, file, -1)
        with pytest.raises(ValueError, match="count must be a positive integer"):
            await loop.sock_sendfile(one, file, 0, 0)
        with pytest.raises(TypeError, match="count must be a positive integer"):
            await loop.sock_sendfile(one, file, 0, "many")  # type: ignore[arg-type]
        with socket.socket(type=socket.SOCK_DGRAM) as datagram:
            datagram.setblocking(False)
            with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
                await loop.sock_sendfile(datagram, file)

    with Path(__file__).open() as text, Path(__file__).open("rb") as file:
        run(lambda: main(text, file))
