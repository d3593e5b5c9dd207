"""A hundred megabytes through pipes: from a child, through a child and back, and between two ends of our own."""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO, cast

from benches.micro._case import Cases, Stopwatch

pipes = Cases("pipe", "ms", "100 MB")

_SIZE = 100_000_000
_CHUNK = bytes(64 * 1024)
_READ = 256 * 1024


@pipes.add("child", 1, helped=True)
async def child(count: int, watch: Stopwatch) -> None:
    """A child writes, its StreamReader is read."""
    process = await asyncio.create_subprocess_exec(
        "head", "-c", str(_SIZE), "/dev/zero", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    got = await _count(process.stdout)
    await process.wait()
    _check(got)


@pipes.add("cat", 1, helped=True, quick=False)
async def cat(count: int, watch: Stopwatch) -> None:
    """Into a child's standard input, and out of its output."""
    process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    counting = asyncio.ensure_future(_count(process.stdout))
    for first in range(0, _SIZE, len(_CHUNK)):
        process.stdin.write(_CHUNK[: _SIZE - first])
        await process.stdin.drain()
    process.stdin.close()
    got = await counting
    await process.wait()
    _check(got)


@pipes.add("pair", 1)
async def pair(count: int, watch: Stopwatch) -> None:
    """Both ends of one pipe in one loop, through protocols."""
    loop = asyncio.get_running_loop()
    drain = Drain(loop.create_future())
    source = Source(_SIZE)
    reader, writer = _open_pipe()
    await loop.connect_read_pipe(lambda: drain, reader)
    await loop.connect_write_pipe(lambda: source, writer)
    watch.start()
    source.pump()
    _check(await drain.done)


def _open_pipe() -> tuple[BinaryIO, BinaryIO]:
    # The transports close them.
    reading, writing = os.pipe()
    return open(reading, "rb", 0), open(writing, "wb", 0)


class Source(asyncio.BaseProtocol):
    """Writes as much as it may until all is written."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def pump(self) -> None:
        """Goes on."""
        while self._left and not self._paused:
            piece = _CHUNK[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)
        if not self._left:
            # Not from within `resume_writing`: asyncio would close with this last piece in its buffer, and lose it.
            asyncio.get_running_loop().call_soon(self._transport.close)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.pump()


class Drain(asyncio.Protocol):
    """Counts until the other end closes."""

    def __init__(self, done: asyncio.Future[int]) -> None:
        self.done = done
        self._got = 0

    def data_received(self, data: bytes) -> None:
        self._got += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc:
            self.done.set_exception(exc)
        else:
            self.done.set_result(self._got)


async def _count(reader: asyncio.StreamReader) -> int:
    got = 0
    while data := await reader.read(_READ):
        got += len(data)
    return got


def _check(got: int) -> None:
    if got != _SIZE:
        raise RuntimeError(f"{got} bytes came out of {_SIZE}")
