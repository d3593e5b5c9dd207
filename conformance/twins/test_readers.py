"""add_reader and add_writer: what may be watched, when the callback comes, and when it no longer does."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from .support import Run, connect_pair, eventually, turns


class Wrapped:
    """An object of which only `fileno` is known."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def fileno(self) -> int:
        return self.sock.fileno()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other


Pair = tuple[socket.socket, socket.socket]
NAMES: dict[str, Callable[[socket.socket], object]] = {
    "number": lambda s: s.fileno(),
    "socket": lambda s: s,
    "object": Wrapped,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_reader_by_any_name(run: Run, pair: Pair, name: Callable[[socket.socket], object]) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        seen: list[bytes] = []
        assert loop.add_reader(name(one), lambda: seen.append(one.recv(10))) is None  # type: ignore[arg-type]
        other.send(b"one")
        await eventually(lambda: seen == [b"one"])
        other.send(b"two")
        await eventually(lambda: seen == [b"one", b"two"])
        assert loop.remove_reader(name(one)) is True  # type: ignore[arg-type]
        assert loop.remove_reader(name(one)) is False  # type: ignore[arg-type]
        other.send(b"three")
        await asyncio.sleep(0.005)
        assert len(seen) == 2

    run(main)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_writer_by_any_name(run: Run, pair: Pair, name: Callable[[socket.socket], object]) -> None:
    async def main() -> None:
        loop, (one, _) = asyncio.get_running_loop(), pair
        writable = asyncio.Event()
        assert loop.add_writer(name(one), writable.set) is None  # type: ignore[arg-type]
        await asyncio.wait_for(writable.wait(), 5)
        assert loop.remove_writer(name(one)) is True  # type: ignore[arg-type]
        assert loop.remove_writer(name(one)) is False  # type: ignore[arg-type]
        writable.clear()
        await asyncio.sleep(0.002)
        assert not writable.is_set()

    run(main)


def test_readers_are_level_triggered(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        seen: list[bytes] = []
        loop.add_reader(one, lambda: seen.append(one.recv(1)))
        other.send(b"abc")
        await eventually(lambda: seen == [b"a", b"b", b"c"])
        loop.remove_reader(one)

    run(main)


def test_a_reader_that_reads_nothing_is_called_again(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        calls: list[None] = []
        loop.add_reader(one, calls.append, None)
        other.send(b"x")
        await eventually(lambda: len(calls) > 5)
        loop.remove_reader(one)

    run(main)


def test_bytes_that_were_there_before(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        other.send(b"early")
        arrived = loop.create_future()
        loop.add_reader(one, lambda: arrived.done() or arrived.set_result(one.recv(10)))
        assert await asyncio.wait_for(arrived, 5) == b"early"
        loop.remove_reader(one)

    run(main)


def test_arguments_arrive(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, _) = asyncio.get_running_loop(), pair
        seen: list[tuple[object, ...]] = []

        def callback(*args: object) -> None:
            seen.append(args)
            loop.remove_writer(one)

        for args in ((), (1,), (1, 2, 3)):
            loop.add_writer(one, callback, *args)
            await eventually(lambda args=args: seen and seen[-1] == args)  # type: ignore[misc]

    run(main)


def test_a_second_callback_replaces_the_first(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        seen: list[str] = []
        loop.add_reader(one, seen.append, "first")
        loop.add_reader(one, lambda: (seen.append("second"), loop.remove_reader(one)))
        other.send(b"x")
        await eventually(lambda: seen)
        assert seen == ["second"]
        assert loop.remove_reader(one) is False

    run(main)


def test_a_callback_may_replace_itself(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        seen: list[str] = []

        def first() -> None:
            seen.append("first")
            loop.add_reader(one, second)

        def second() -> None:
            seen.append("second")
            loop.remove_reader(one)

        loop.add_reader(one, first)
        other.send(b"x")
        await eventually(lambda: seen == ["first", "second"])

    run(main)


def test_reader_and_writer_of_one_descriptor_live_apart(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        seen: list[str] = []
        loop.add_reader(one, lambda: (seen.append("read"), one.recv(1)))
        loop.add_writer(one, lambda: (seen.append("write"), loop.remove_writer(one)))
        await eventually(lambda: seen == ["write"])
        other.send(b"x")
        await eventually(lambda: seen == ["write", "read"])
        loop.add_writer(one, lambda: (seen.append("write again"), loop.remove_writer(one)))
        await eventually(lambda: seen[-1] == "write again")
        assert loop.remove_reader(one) is True
        assert loop.remove_writer(one) is False

    run(main)


def test_removing_in_the_same_turn_wins(run: Run, pair: Pair) -> None:
    # Both descriptors are ready; whichever callback comes first takes the other off.
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        seen: list[str] = []

        def callback(name: str, mate: socket.socket) -> None:
            seen.append(name)
            loop.remove_reader(one)
            loop.remove_reader(other)

        one.send(b"x")
        other.send(b"x")
        loop.add_reader(one, callback, "one", other)
        loop.add_reader(other, callback, "other", one)
        await eventually(lambda: seen)
        await turns()
        assert len(seen) == 1

    run(main)


def test_the_end_of_the_stream_is_readable(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop, (one, other) = asyncio.get_running_loop(), pair
        arrived = loop.create_future()
        loop.add_reader(one, lambda: arrived.done() or arrived.set_result(one.recv(1)))
        other.close()
        assert await asyncio.wait_for(arrived, 5) == b""
        loop.remove_reader(one)

    run(main)


def test_the_hang_up_of_a_pipe_reaches_its_writer(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, bytes(65536))
        except BlockingIOError:
            pass
        broken = asyncio.Event()
        loop.add_writer(writing, broken.set)
        await turns()
        assert not broken.is_set()
        os.close(reading)
        await asyncio.wait_for(broken.wait(), 5)
        loop.remove_writer(writing)
        os.close(writing)

    run(main)


def test_descriptor_numbers_are_reused(run: Run) -> None:
    # A closed descriptor leaves the kernel's list by itself; the next socket often gets its number.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            one, other = socket.socketpair()
            arrived = asyncio.Event()
            loop.add_reader(one, arrived.set)
            other.send(b"x")
            await asyncio.wait_for(arrived.wait(), 5)
            assert loop.remove_reader(one) is True
            one.close()
            other.close()

    run(main)


def test_bad_descriptors(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for bad in (-1, "text", object(), None):
            for method in (loop.add_reader, loop.add_writer):
                with pytest.raises(ValueError, match="Invalid file"):
                    method(bad, print)  # type: ignore[arg-type]
        closed = socket.socket()
        closed.close()
        with pytest.raises(ValueError, match="Invalid file"):
            loop.add_reader(closed, print)

    run(main)


@pytest.mark.parametrize("side", ["reader", "writer"])
@pytest.mark.parametrize("name", [NAMES["socket"], NAMES["object"]])
def test_what_was_closed_is_still_known_by_its_object(
    run: Run, pair: Pair, name: Callable[[socket.socket], object], side: str
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, f"add_{side}"), getattr(loop, f"remove_{side}")
        file, other = name(pair[0]), name(pair[1])
        add(file, print)
        pair[0].close()
        assert remove(file) is True
        with pytest.raises(ValueError, match="Invalid file"):
            remove(file)
        pair[1].close()
        with pytest.raises(ValueError, match="Invalid file"):
            remove(other)

    run(main)


def test_a_number_that_is_not_open(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        number = os.dup(0)
        os.close(number)
        with pytest.raises(OSError, match="Bad file descriptor"):
            loop.add_reader(number, print)
        with pytest.raises(OSError, match="Bad file descriptor"):
            loop.add_writer(number, print)
        assert loop.remove_reader(number) is False
        assert loop.remove_writer(number) is False

    run(main)


def test_a_regular_file_cannot_be_watched(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with open(__file__, "rb") as file, pytest.raises(PermissionError):  # noqa: ASYNC230 - nothing is read
            loop.add_reader(file, print)
        assert loop.remove_reader(0) is False

    run(main)


@pytest.mark.parametrize("method", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
def test_the_descriptor_of_a_transport_is_refused(run: Run, method: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, peer = await connect_pair("tcp")
        arguments = (print,) if method.startswith("add") else ()
        for subject in (transport.get_extra_info("socket"), transport.get_extra_info("socket").fileno()):
            with pytest.raises(RuntimeError, match="is used by transport"):
                getattr(loop, method)(subject, *arguments)
        with peer:
            transport.close()
            await protocol.lost

    run(main)


def test_watching_outside_a_run(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    one, other = pair
    seen: list[bytes] = []
    loop.add_reader(one, lambda: (seen.append(one.recv(10)), loop.stop()))
    other.send(b"x")
    loop.run_forever()
    assert seen == [b"x"]
    assert loop.remove_reader(one) is True


def test_a_loop_closes_with_watchers_left(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    one, _ = pair
    loop.add_reader(one, print)
    loop.add_writer(one, print)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert one.fileno() >= 0


def test_two_hundred_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(200)]
        seen: set[int] = set()

        def callback(index: int) -> None:
            pairs[index][0].recv(1)
            seen.add(index)

        for index, (one, other) in enumerate(pairs):
            loop.add_reader(one, callback, index)
            other.send(b"x")
        await eventually(lambda: len(seen) == 200)
        for one, other in pairs:
            assert loop.remove_reader(one)
            one.close()
            other.close()

    run(main)
