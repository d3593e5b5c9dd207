"""BufferedProtocol: bytes go into the user's own buffer, and mistakes with it end the connection politely."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .support import BufferedRecorder, Run, connect_pair, eventually

FAMILIES = pytest.mark.parametrize("family", ["tcp", "unix"])


@FAMILIES
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_data_arrives_in_buffers_of_any_size(run: Run, family: str, size: int) -> None:
    payload = bytes(range(256)) * 40 if size < 100 else bytes(range(256)) * 4000

    async def main() -> None:
        transport, protocol, peer = await connect_pair(family, lambda: BufferedRecorder(size))
        with peer:
            sending = asyncio.create_task(asyncio.to_thread(peer.sendall, payload))
            assert await protocol.received(len(payload)) == payload
            await sending
            assert set(protocol.hints) == {-1}
            peer.close()
            assert await protocol.lost is None
            assert protocol.events[-2:] == ["eof", "lost"]
            assert transport.is_closing()

    run(main)


def test_the_buffer_may_be_a_memoryview(run: Run) -> None:
    class Viewing(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> memoryview:  # type: ignore[override]
            return memoryview(self.buffer)[10:]

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[10 : 10 + nbytes]
            self._more.set()

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", Viewing)
        with peer:
            peer.send(b"into the middle")
            assert await protocol.received(15) == b"into the middle"
            assert protocol.buffer[:10] == bytes(10)
            transport.close()
            await protocol.lost

    run(main)


@pytest.mark.parametrize("format", ["b", "i", "d", "?"])
def test_the_buffer_may_have_items_of_any_kind(run: Run, format: str) -> None:
    class Items(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> memoryview:  # type: ignore[override]
            return memoryview(self.buffer).cast(format)

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", Items)
        with peer:
            peer.send(b"any number of bytes")
            assert await protocol.received(19) == b"any number of bytes"
            transport.close()
            await protocol.lost

    run(main)


def test_the_buffer_is_not_held_between_reads(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", BufferedRecorder)
        with peer:
            peer.send(b"x")
            await protocol.received(1)
            protocol.buffer.extend(bytes(10))  # a BufferError when somebody still exports it
            peer.send(b"y")
            assert await protocol.received(2) == b"xy"
            transport.close()
            await protocol.lost

    run(main)


def test_the_buffer_is_not_held_after_the_end(run: Run) -> None:
    async def main() -> None:
        _, protocol, peer = await connect_pair("tcp", BufferedRecorder)
        peer.close()
        await protocol.lost
        protocol.buffer.clear()

    run(main)


def test_pausing_in_buffer_updated(run: Run) -> None:
    class Pausing(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.pause_reading()

    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix", lambda: Pausing(10))
        with peer:
            peer.send(b"a" * 10 + b"b" * 10)
            await eventually(lambda: protocol.data)
            await asyncio.sleep(0.005)
            assert protocol.data == b"a" * 10
            transport.resume_reading()
            assert await protocol.received(20) == b"a" * 10 + b"b" * 10
            transport.close()
            await protocol.lost

    run(main)


def fails_with(run: Run, factory: type[BufferedRecorder], message: str, error: type[BaseException]) -> None:
    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        transport, protocol, peer = await connect_pair("tcp", factory)
        with peer:
            peer.send(b"x")
            assert isinstance(await protocol.lost, error)
        (context,) = told
        assert context["message"] == message
        assert isinstance(context["exception"], error)
        assert context["transport"] is transport
        assert context["protocol"] is protocol

    run(main)


def test_an_empty_buffer(run: Run) -> None:
    class Empty(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray()

    fails_with(run, Empty, "Fatal error: protocol.get_buffer() call failed.", RuntimeError)


def test_no_buffer_at_all(run: Run) -> None:
    class NoBuffer(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            return None  # type: ignore[return-value]

    fails_with(run, NoBuffer, "Fatal error: protocol.get_buffer() call failed.", TypeError)


def test_get_buffer_that_raises(run: Run) -> None:
    class Raising(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            raise ZeroDivisionError

    fails_with(run, Raising, "Fatal error: protocol.get_buffer() call failed.", ZeroDivisionError)


def test_buffer_updated_that_raises(run: Run) -> None:
    class Raising(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            raise ZeroDivisionError

    fails_with(run, Raising, "Fatal error: protocol.buffer_updated() call failed.", ZeroDivisionError)


def test_a_buffer_that_cannot_be_written(run: Run) -> None:
    class ReadOnly(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytes:  # type: ignore[override]
            return b"read only"

    fails_with(run, ReadOnly, "Fatal read error on socket transport", TypeError)
