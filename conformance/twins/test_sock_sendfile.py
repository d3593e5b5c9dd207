"""sock_sendfile: a file goes to a socket, by the kernel where it can and through Python where not."""

from __future__ import annotations

import asyncio
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from .support import LoopFactory, Run, receive_exactly, reset, small_buffers, socket_pair
from .versions import is_asyncio

DATA = os.urandom(64) * 4096


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    """A file of 256 KiB."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        yield file


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A non-blocking socket that takes little at a time, and its peer."""
    ours, peer = socket_pair(request.param)
    small_buffers(ours, peer)
    with ours, peer:
        yield ours, peer


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (1000, None), (0, 100_000), (1000, 100_000), (0, len(DATA) * 2), (len(DATA), None), (0, 1)],
)
def test_a_part_of_a_file(
    run: Run, loop_factory: LoopFactory, file: BinaryIO, pair: Any, offset: int, count: int | None
) -> None:
    expected = DATA[offset:] if count is None else DATA[offset : offset + count]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = pair
        receiving = loop.create_task(receive_exactly(peer, len(expected)))
        assert await loop.sock_sendfile(ours, file, offset, count, fallback=False) == len(expected)
        assert await receiving == expected
        if expected or not is_asyncio(loop_factory):  # asyncio before 3.14 leaves it alone when nothing was sent
            assert file.tell() == offset + len(expected)

    run(main)


def test_what_the_kernel_cannot_send(run: Run, pair: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = pair
        for source in (io.BytesIO(DATA), io.BufferedReader(io.BytesIO(DATA))):  # type: ignore[type-var]
            with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
                await loop.sock_sendfile(ours, source, fallback=False)
            receiving = loop.create_task(receive_exactly(peer, 5000))
            assert await loop.sock_sendfile(ours, source, 1000, 5000) == 5000
            assert await receiving == DATA[1000:6000]

    run(main)


def test_an_empty_file(run: Run, tmp_path: Path, pair: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = tmp_path / "empty"
        path.touch()
        with path.open("rb") as empty:
            assert await loop.sock_sendfile(pair[0], empty, fallback=False) == 0

    run(main)


def test_other_tasks_get_their_turns(run: Run, file: BinaryIO) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket_pair("tcp")
        with ours, peer:
            sending = loop.create_task(loop.sock_sendfile(ours, file))
            steps = 0
            receiving = loop.create_task(receive_exactly(peer, len(DATA)))
            while not sending.done():
                steps += 1
                await asyncio.sleep(0)
            assert steps > 1
            assert await receiving == DATA

    run(main)


def test_cancelling_leaves_the_socket_usable(run: Run, loop_factory: LoopFactory, file: BinaryIO, pair: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = pair
        task = loop.create_task(loop.sock_sendfile(ours, file))
        await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not loop.remove_writer(ours)
        receiving = loop.create_task(receive_exactly(peer, 2 * len(DATA)))
        await loop.sock_sendall(ours, b"goes on")
        ours.shutdown(socket.SHUT_WR)
        received = await receiving
        assert received.endswith(b"goes on")
        sent = len(received) - len(b"goes on")
        assert 0 < sent < len(DATA)
        assert received[:sent] == DATA[:sent]
        # The documentation promises the position in any case, and here asyncio forgets it.
        assert file.tell() == (0 if is_asyncio(loop_factory) else sent)

    run(main)


def test_a_peer_that_goes_away(run: Run, file: BinaryIO) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket_pair("tcp")
        small_buffers(ours, peer)
        with ours:
            task = loop.create_task(loop.sock_sendfile(ours, file))
            await asyncio.sleep(0.02)
            assert not task.done()
            reset(peer)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(task, 5)
            assert not loop.remove_writer(ours)

    run(main)


def test_what_cannot_be_sent(run: Run, file: BinaryIO, tmp_path: Path) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            stream.setblocking(False)
            datagram.setblocking(False)
            with (tmp_path / "file").open() as text, pytest.raises(ValueError, match="opened in binary mode"):
                await loop.sock_sendfile(stream, text)
            with pytest.raises(ValueError, match="only SOCK_STREAM type sockets"):
                await loop.sock_sendfile(datagram, file)
            for count, kind in ((0, ValueError), (-1, ValueError), ("1", TypeError)):
                with pytest.raises(kind, match="count must be a positive integer"):
                    await loop.sock_sendfile(stream, file, 0, count)
            for offset, kind in ((-1, ValueError), ("1", TypeError)):
                with pytest.raises(kind, match="offset must be a non-negative integer"):
                    await loop.sock_sendfile(stream, file, offset)

    run(main)


def test_debug_mode_wants_a_socket_that_does_not_block(run: Run, file: BinaryIO) -> None:
    async def main() -> None:
        with socket.socket() as blocking, pytest.raises(ValueError, match="the socket must be non-blocking"):
            await asyncio.get_running_loop().sock_sendfile(blocking, file)

    run(main, debug=True)
