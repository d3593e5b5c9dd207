"""loop.sendfile: a file goes through a transport, by the kernel where it can and through Python where not."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
from asyncio import base_events
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from .support import (
    LoopFactory,
    Recorder,
    Run,
    connect_pair,
    eventually,
    receive_exactly,
    receive_in_turns,
    reset,
    small_buffers,
    turns,
)
from .versions import is_asyncio

DATA = os.urandom(64) * 32768  # 2 MiB


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    """A file that does not fit into any socket's buffer."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        yield file


@pytest.fixture(params=["tcp", "unix"])
def family(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(params=["kernel", "python"])
def way(request: pytest.FixtureRequest) -> str:
    """By which of the two ways the file goes."""
    way: str = request.param
    return way


def take(way: str, loop: Any) -> None:
    """Make the loop send files in one way only, as CPython's tests do it."""
    if way == "python":

        def refuse(*arguments: Any) -> Awaitable[int]:
            refused: Awaitable[int] = base_events.BaseEventLoop._sendfile_native(loop, *arguments)  # type: ignore[attr-defined]
            return refused

        loop._sendfile_native = refuse


async def connected(family: str, factory: Callable[[], Any] = Recorder) -> tuple[Any, Any, socket.socket]:
    """A transport that takes little at a time, its protocol, and the peer's socket."""
    transport, protocol, peer = await connect_pair(family, factory)
    small_buffers(transport.get_extra_info("socket"), peer)
    return transport, protocol, peer


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (1000, None), (0, 100_000), (1000, 1_000_000), (0, len(DATA) * 2), (len(DATA), None), (7, 1)],
)
def test_a_part_of_a_file(
    run: Run, loop_factory: LoopFactory, file: BinaryIO, family: str, way: str, offset: int, count: int | None
) -> None:
    expected = DATA[offset:] if count is None else DATA[offset : offset + count]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        take(way, loop)
        transport, _, peer = await connected(family)
        with peer:
            receiving = loop.create_task(receive_exactly(peer, len(expected)))
            assert await loop.sendfile(transport, file, offset, count) == len(expected)
            assert await receiving == expected
            if expected or not is_asyncio(loop_factory):  # asyncio before 3.14 leaves it alone when nothing was sent
                assert file.tell() == offset + len(expected)
            transport.close()

    run(main)


def test_it_keeps_its_place_among_writes(run: Run, file: BinaryIO, family: str, way: str) -> None:
    before, after = b"before" * 100_000, b"after" * 100_000

    async def main() -> None:
        loop = asyncio.get_running_loop()
        take(way, loop)
        transport, protocol, peer = await connected(family)
        with peer:
            receiving = loop.create_task(receive_exactly(peer, len(before) + len(DATA) + len(after)))
            transport.write(before)
            assert await loop.sendfile(transport, file) == len(DATA)
            transport.write(after)
            assert await receiving == before + DATA + after
            transport.close()
            assert await protocol.lost is None

    run(main)


def test_an_empty_file(run: Run, tmp_path: Path, family: str, way: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        take(way, loop)
        transport, _, peer = await connected(family)
        path = tmp_path / "empty"
        path.touch()
        with peer, path.open("rb") as empty:
            assert await loop.sendfile(transport, empty) == 0
            transport.write(b"goes on")
            assert await receive_exactly(peer, 7) == b"goes on"
            transport.close()

    run(main)


@pytest.mark.parametrize("method", ["write", "writelines"])
def test_writes_are_refused_meanwhile(run: Run, file: BinaryIO, family: str, method: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _, peer = await connected(family)
        with peer:
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            with pytest.raises(RuntimeError, match=r"unable to write(lines)?; sendfile is in progress"):
                getattr(transport, method)([b"data"] if method == "writelines" else b"data")
            assert await receive_in_turns(peer, len(DATA)) == DATA
            assert await sending == len(DATA)
            transport.write(b"goes on")
            assert await receive_exactly(peer, 7) == b"goes on"
            transport.close()

    run(main)


@pytest.mark.parametrize("paused", [False, True])
def test_reading_pauses_meanwhile(run: Run, file: BinaryIO, family: str, way: str, paused: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        take(way, loop)
        transport, protocol, peer = await connected(family)
        with peer:
            if paused:
                transport.pause_reading()
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            assert not transport.is_reading()
            peer.sendall(b"while it goes on")
            await turns()
            assert not protocol.data
            assert await receive_in_turns(peer, len(DATA)) == DATA
            await sending
            assert transport.is_reading() == (not paused)
            if paused:
                await turns()
                assert not protocol.data
                transport.resume_reading()
            assert await protocol.received(16) == b"while it goes on"
            assert transport.get_protocol() is protocol
            transport.close()

    run(main)


def test_other_tasks_get_their_turns(run: Run, file: BinaryIO, way: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        take(way, loop)
        transport, _, peer = await connect_pair("tcp")
        with peer:
            receiving = loop.create_task(receive_exactly(peer, len(DATA)))
            sending = loop.create_task(loop.sendfile(transport, file))
            steps = 0
            while not sending.done():
                steps += 1
                await asyncio.sleep(0)
            assert steps > 1
            assert await receiving == DATA
            transport.close()

    run(main)


def test_what_the_kernel_cannot_send(run: Run, family: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _, peer = await connected(family)
        with peer:
            source: Any
            for source in (io.BytesIO(DATA), io.BufferedReader(io.BytesIO(DATA))):  # type: ignore[type-var]
                with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
                    await loop.sendfile(transport, source, fallback=False)
                assert transport.is_reading()
                receiving = loop.create_task(receive_exactly(peer, 500_000))
                assert await loop.sendfile(transport, source, 1000, 500_000) == 500_000
                assert await receiving == DATA[1000:501_000]
                assert source.tell() == 501_000
            transport.close()

    run(main)


def test_a_file_that_cannot_be_sought(run: Run, loop_factory: LoopFactory) -> None:
    """A pipe: the kernel refuses it at the first byte, and a position it has none."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _, peer = await connected("tcp")
        reader, writer = os.pipe()
        os.write(writer, b"in the pipe")
        os.close(writer)
        with peer, io.FileIO(reader) as source:
            try:
                with pytest.raises(asyncio.SendfileNotAvailableError, match=r"os.sendfile call failed") as caught:
                    await loop.sendfile(transport, source, 0, 5, fallback=False)
            except OSError as error:
                if is_asyncio(loop_factory) and error.errno == errno.ESPIPE:
                    pytest.skip(
                        "asyncio's later releases (3.13.18, 3.14.10, 3.15.2) move the position of what has none"
                    )
                raise
            assert isinstance(caught.value.__cause__, OSError) or caught.value.__cause__ is None
            transport.write(b"goes on")
            assert await receive_exactly(peer, 7) == b"goes on"
            transport.close()

    run(main)


def test_cancelling_leaves_the_transport_usable(
    run: Run, loop_factory: LoopFactory, file: BinaryIO, family: str, way: str
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        take(way, loop)
        transport, protocol, peer = await connected(family)
        with peer:
            sending = loop.create_task(loop.sendfile(transport, file))
            first = await receive_exactly(peer, 1000)
            assert not sending.done()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert transport.is_reading()
            assert transport.get_protocol() is protocol
            receiving = loop.create_task(receive_exactly(peer, 2 * len(DATA)))
            transport.write(b"goes on")
            transport.write_eof()
            received = first + await receiving
            assert received.endswith(b"goes on")
            sent = len(received) - len(b"goes on")
            assert 0 < sent < len(DATA)
            assert received[:sent] == DATA[:sent]
            if way == "kernel":
                # The documentation promises the position in any case, and here asyncio forgets it.
                assert file.tell() == (0 if is_asyncio(loop_factory) else sent)
            transport.close()

    run(main)


def test_cancelling_before_it_has_begun(run: Run, loop_factory: LoopFactory, file: BinaryIO, family: str) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio refuses to write for ever after")
    before = b"before" * 200_000

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _, peer = await connected(family)
        with peer:
            transport.write(before)
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            transport.write(b"after")
            assert await receive_in_turns(peer, len(before) + 5) == before + b"after"
            assert file.tell() == 0
            transport.close()

    run(main)


def test_a_peer_that_goes_away(run: Run, file: BinaryIO, way: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        take(way, loop)
        transport, protocol, peer = await connected("tcp")
        sending = loop.create_task(loop.sendfile(transport, file))
        await receive_exactly(peer, 1000)
        assert not sending.done()
        reset(peer)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(sending, 5)
        # The kernel tells of a reset once, to whoever asks first.
        assert isinstance(await asyncio.wait_for(protocol.lost, 5), ConnectionError | None)
        assert transport.is_closing()
        assert 0 < file.tell() < len(DATA)

    run(main)


@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("before", [b"", b"before" * 200_000])
def test_an_end_in_the_middle(
    run: Run, loop_factory: LoopFactory, file: BinaryIO, family: str, way: str, method: str, before: bytes
) -> None:
    if is_asyncio(loop_factory) and way == "kernel":
        pytest.skip("asyncio's sendfile never ends when the transport is closed under it")
    if is_asyncio(loop_factory) and before:
        pytest.skip("asyncio may write to a transport that it has closed")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        take(way, loop)
        transport, protocol, peer = await connected(family)
        with peer:
            transport.write(before)
            sending = loop.create_task(loop.sendfile(transport, file))
            if before:
                await turns()
            else:
                await receive_exactly(peer, 1000)
            assert not sending.done()
            getattr(transport, method)()
            receiving = loop.create_task(receive_exactly(peer, len(before) + len(DATA)))
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(sending, 5)
            assert await asyncio.wait_for(protocol.lost, 5) is None
            received = await receiving
            if method == "close":
                assert received[: len(before)] == before
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await loop.sendfile(transport, file)

    run(main)


def test_an_end_before_the_last_block(run: Run, loop_factory: LoopFactory, file: BinaryIO) -> None:
    """Through Python: the transport is closed while it is too full for a file that is one block long."""
    if is_asyncio(loop_factory):
        pytest.skip("asyncio takes a block for sent that it has thrown away")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        take("python", loop)
        transport, protocol, peer = await connected("unix")
        before = b"before" * 50_000
        with peer:
            transport.write(before)
            sending = loop.create_task(loop.sendfile(transport, file, 0, 1000))
            await eventually(lambda: transport.get_protocol() is not protocol)
            await loop.run_in_executor(None, bool)  # the block has been read by now, or will be at once
            await turns()
            assert not sending.done()
            transport.close()
            assert await receive_exactly(peer, len(before) + 1) == before
            with pytest.raises(ConnectionError):
                await sending
            await protocol.lost

    run(main)


def test_the_end_of_writing_in_the_middle(run: Run, file: BinaryIO, family: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _, peer = await connected(family)
        with peer:
            sending = loop.create_task(loop.sendfile(transport, file))
            await receive_exactly(peer, 1000)
            transport.write_eof()
            receiving = loop.create_task(receive_exactly(peer, len(DATA)))
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(sending, 5)
            await receiving
            transport.close()

    run(main)


def test_one_at_a_time(run: Run, loop_factory: LoopFactory, file: BinaryIO, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _, peer = await connected("tcp")
        with peer, (tmp_path / "file").open("rb") as other:
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            # asyncio stumbles over a table of its own here.
            with pytest.raises(KeyError if is_asyncio(loop_factory) else RuntimeError):
                await loop.sendfile(transport, other)
            assert await receive_in_turns(peer, len(DATA)) == DATA
            assert await sending == len(DATA)
            transport.close()

    run(main)


def test_what_cannot_be_sent(run: Run, file: BinaryIO, tmp_path: Path) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        transport, protocol, peer = await connect_pair("tcp")
        with peer:
            with (tmp_path / "file").open() as text, pytest.raises(ValueError, match="opened in binary mode"):
                await loop.sendfile(transport, text)
            for count, kind in ((0, ValueError), (-1, ValueError), ("1", TypeError)):
                with pytest.raises(kind, match="count must be a positive integer"):
                    await loop.sendfile(transport, file, 0, count)
            for offset, kind in ((-1, ValueError), ("1", TypeError)):
                with pytest.raises(kind, match="offset must be a non-negative integer"):
                    await loop.sendfile(transport, file, offset)
            assert transport.is_reading()
            transport.write(b"goes on")
            assert await receive_exactly(peer, 7) == b"goes on"
            transport.close()
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await loop.sendfile(transport, file)
            await protocol.lost

    run(main)


class Elsewhere:
    """A transport of somebody else's that can do one thing: say what it is."""

    def __init__(self, mode: object = None) -> None:
        if mode is not None:
            self._sendfile_compatible = mode

    def is_closing(self) -> bool:
        return False


def test_transports_that_cannot(run: Run, file: BinaryIO) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
            await loop.sendfile(Elsewhere(), file)
        mode = asyncio.constants._SendfileMode  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
            await loop.sendfile(Elsewhere(mode.UNSUPPORTED), file)
        with pytest.raises(RuntimeError, match="fallback is disabled and native sendfile is not supported"):
            await loop.sendfile(Elsewhere(mode.FALLBACK), file, fallback=False)

    run(main)


def test_a_stream_says_what_it_can(run: Run) -> None:
    async def main() -> None:
        transport, _, peer = await connect_pair("tcp")
        with peer:
            assert transport._sendfile_compatible is asyncio.constants._SendfileMode.TRY_NATIVE  # type: ignore[attr-defined]
            transport.close()

    run(main)


def test_a_protocol_that_paused_is_resumed(run: Run, file: BinaryIO) -> None:
    """Through Python, in the place of a protocol that has been told to pause and has not been resumed yet."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        take("python", loop)
        transport, protocol, peer = await connected("tcp")
        before = b"before" * 200_000
        with peer:
            transport.write(before)
            assert protocol.events == ["made", "pause"]
            receiving = loop.create_task(receive_exactly(peer, len(before) + len(DATA)))
            assert await loop.sendfile(transport, file) == len(DATA)
            assert await receiving == before + DATA
            await eventually(lambda: "resume" in protocol.events)
            assert transport.get_write_buffer_size() == 0
            transport.close()

    run(main)


def test_pauses_and_resumes_alternate(run: Run, loop_factory: LoopFactory, file: BinaryIO) -> None:
    """Through Python the transport may be full when the file is over, and its protocol has not been told so yet."""
    if is_asyncio(loop_factory):
        pytest.skip("asyncio resumes a protocol that it never paused")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        take("python", loop)
        transport, protocol, peer = await connected("unix")
        with peer:
            # One block, of which a socket that nobody reads takes little: the transport is full when the file is over.
            assert await loop.sendfile(transport, file, 0, 200_000) == 200_000
            assert protocol.events == ["made", "pause"]
            assert await receive_exactly(peer, 200_000) == DATA[:200_000]
            await eventually(lambda: protocol.events == ["made", "pause", "resume"])
            transport.close()

    run(main)
