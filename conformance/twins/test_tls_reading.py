"""TLS: how a program stops data from arriving, and what is kept for it meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .support import BufferedRecorder, LoopFactory, Recorder, Run, eventually, turns
from .tls_support import FAMILIES, SIDES, Contexts, close_both, facing, payload, tls_pair
from .versions import is_asyncio

RECORD = 16_384


class Pausing(Recorder):
    """Pauses at the first data it gets."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.pause_reading()


@SIDES
def test_pausing_stops_what_comes_later(run: Run, tls: Contexts, server_side: bool) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls, server_side=server_side)
        with peer:
            protocol.transport.pause_reading()
            assert not protocol.transport.is_reading()
            await peer.send(b"hello")
            await asyncio.sleep(0.005)
            assert protocol.events == ["made"]
            protocol.transport.resume_reading()
            assert protocol.transport.is_reading()
            assert protocol.events == ["made"]
            assert await protocol.received(5) == b"hello"
            protocol.transport.abort()
            await protocol.lost

    run(main)


@FAMILIES
def test_pausing_inside_data_received(run: Run, tls: Contexts, family: str) -> None:
    """Nothing more is delivered, not even what came in the same burst."""

    async def main() -> None:
        protocol, peer = await facing(tls, Pausing, family=family)
        with peer:
            size = 2_000_000
            sending = asyncio.create_task(peer.send(payload(size)))
            await eventually(lambda: protocol.data)
            while len(protocol.data) < size:
                got, calls = len(protocol.data), protocol.events.count("data")
                await turns(10)
                assert (len(protocol.data), protocol.events.count("data")) == (got, calls)
                protocol.transport.resume_reading()
                await eventually(lambda calls=calls: protocol.events.count("data") > calls)  # type: ignore[misc]
                assert protocol.events.count("data") == calls + 1
            await sending
            assert protocol.data == payload(size)
            protocol.transport.abort()
            await protocol.lost

    run(main)


def test_pausing_and_the_goodbye_of_the_same_burst(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls, Pausing)
        with peer:
            await peer.send_raw(peer.records(b"last words") + peer.goodbye())
            await eventually(lambda: protocol.data)
            await turns(10)
            # The goodbye was read with the data. It is told at once, as asyncio does: it is no data.
            assert protocol.events[:2] == ["made", "data"]
            protocol.transport.resume_reading()
            await protocol.lost
            assert protocol.events == ["made", "data", "eof", "lost"]

    run(main)


def test_a_paused_connection_stops_its_peer(run: Run, tls: Contexts) -> None:
    """The lower transport pauses when enough waits: the peer's writes come to a halt."""

    async def main() -> None:
        protocol, peer = await facing(tls, small=True)
        with peer:
            protocol.transport.pause_reading()
            records = peer.records(payload(1 << 20))
            sent = 0

            async def flood() -> None:
                nonlocal sent
                for begin in range(0, len(records), RECORD):
                    await peer.send_raw(records[begin : begin + RECORD])
                    sent += RECORD
                for _ in range(30):
                    more = peer.records(bytes(1 << 20))
                    for begin in range(0, len(more), RECORD):
                        await peer.send_raw(more[begin : begin + RECORD])
                        sent += RECORD

            flooding = asyncio.create_task(flood())
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.03)
            assert not flooding.done()
            assert sent < 20 << 20
            assert protocol.data == b""
            protocol.transport.resume_reading()
            await flooding
            assert await protocol.received(31 << 20)
            assert protocol.data[: 1 << 20] == payload(1 << 20)
            protocol.transport.abort()
            await protocol.lost

    run(main)


def test_the_lower_transport_pauses_above_the_mark(run: Run, tls: Contexts) -> None:
    """Between pausing and the mark of 256 KiB the lower transport goes on reading."""

    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            lower = lower_of(protocol.transport)
            protocol.transport.pause_reading()
            await peer.send(payload(100_000))
            await eventually(lambda: protocol.transport.get_read_buffer_size() > 100_000)
            assert lower.is_reading()
            sending = asyncio.create_task(peer.send(payload(400_000)))
            await eventually(lambda: not lower.is_reading())
            assert protocol.transport.get_read_buffer_size() > 256 * 1024
            protocol.transport.resume_reading()
            assert await protocol.received(500_000) == payload(100_000) + payload(400_000)
            await sending
            await eventually(lower.is_reading)
            assert protocol.transport.get_read_buffer_size() == 0
            protocol.transport.abort()
            await protocol.lost

    run(main)


def lower_of(transport: Any) -> Any:
    """The transport below."""
    return transport._ssl_protocol._transport if hasattr(transport._ssl_protocol, "_transport") else transport._lower


def test_read_limits(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        transport = client.transport
        assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
        transport.set_read_buffer_limits(high=1000)
        assert transport.get_read_buffer_limits() == (250, 1000)
        transport.set_read_buffer_limits(low=1000)
        assert transport.get_read_buffer_limits() == (1000, 4000)
        transport.set_read_buffer_limits()
        assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
        with pytest.raises(ValueError, match="must be >= "):
            transport.set_read_buffer_limits(high=1, low=2)
        transport.pause_reading()
        transport.set_read_buffer_limits(high=1000)
        server.transport.write(payload(100_000))
        await eventually(lambda: not lower_of(transport).is_reading())
        transport.resume_reading()
        assert await client.received(100_000) == payload(100_000)
        await close_both(client, server)

    run(main)


def test_pausing_and_resuming_twice(run: Run, tls: Contexts) -> None:
    """As with sockets, the second pause and the second resume change nothing."""

    async def main() -> None:
        client, server = await tls_pair(tls)
        for _ in range(2):
            client.transport.pause_reading()
        server.transport.write(b"hello")
        await turns(10)
        assert client.data == b""
        for _ in range(2):
            client.transport.resume_reading()
        assert await client.received(5) == b"hello"
        assert client.events.count("data") == 1
        await close_both(client, server)

    run(main)


def test_pausing_in_connection_made(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio then keeps the end of the handshake to itself, and the peer waits for it")

    class Paused(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    async def main() -> None:
        client, server = await tls_pair(tls, Paused)
        server.transport.write(b"early")
        await asyncio.sleep(0.005)
        assert client.events == ["made"]
        client.transport.resume_reading()
        assert await client.received(5) == b"early"
        await close_both(client, server)

    run(main)


def test_pausing_again_before_the_kept_data_is_delivered(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        client.transport.pause_reading()
        server.transport.write(b"hello")
        await asyncio.sleep(0.005)
        client.transport.resume_reading()
        client.transport.pause_reading()
        await turns(10)
        assert client.data == b""
        client.transport.resume_reading()
        assert await client.received(5) == b"hello"
        await close_both(client, server)

    run(main)


def test_close_while_data_waits(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """Whoever closes a paused connection does not want the data; the session then ends in disorder."""

    async def main() -> None:
        protocol, peer = await facing(tls, ssl_shutdown_timeout=2)
        with peer:
            protocol.transport.pause_reading()
            await peer.send(b"unread")
            await eventually(lambda: protocol.transport.get_read_buffer_size() > 0)
            protocol.transport.close()
            error = await protocol.lost
            assert getattr(error, "reason", None) == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
            assert protocol.data == b""
            assert protocol.events == ["made", "lost"]

    run(main)


def test_a_buffered_protocol_pauses(run: Run, tls: Contexts) -> None:
    class Pausing(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return memoryview(super().get_buffer(sizehint))

        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.pause_reading()

    async def main() -> None:
        protocol, peer = await facing(tls, lambda: Pausing(1000))
        with peer:
            await peer.send(payload(10_000))
            await eventually(lambda: protocol.data)
            await turns(10)
            first = len(protocol.data)
            assert first >= 1000
            while len(protocol.data) < 10_000:
                before = len(protocol.data)
                protocol.transport.resume_reading()
                await eventually(lambda before=before: len(protocol.data) > before)  # type: ignore[misc]
            assert protocol.data == payload(10_000)
            protocol.transport.abort()
            await protocol.lost

    run(main)


def test_how_much_comes_at_once(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """A burst of many records is one call, up to 256 KiB."""

    async def main() -> None:
        protocol, peer = await facing(tls, family="unix")
        with peer:
            protocol.transport.pause_reading()
            await peer.send_raw(b"".join(peer.records(bytes(100)) for _ in range(1000)))
            await eventually(lambda: protocol.transport.get_read_buffer_size() >= 1000 * 122)
            protocol.transport.resume_reading()
            await protocol.received(100_000)
            assert protocol.events == ["made", "data"]
            protocol.transport.abort()
            await protocol.lost

    run(main)


def test_a_stream_reader_that_is_slow(run: Run, tls: Contexts) -> None:
    """The reader pauses its transport above twice its limit and resumes it below."""
    size = 5_000_000

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(payload(size))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port, ssl=tls.client(), limit=10_000)
        data = bytearray()
        while chunk := await reader.read(50_000):
            data += chunk
            await asyncio.sleep(0)
        assert data == payload(size)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_pausing_does_not_outlive_the_connection(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        client.transport.pause_reading()
        client.transport.abort()
        await client.lost
        client.transport.resume_reading()
        await turns()
        await server.lost
        assert client.events == ["made", "lost"]
        if not is_asyncio(loop_factory):
            assert client.transport.get_read_buffer_size() == 0

    run(main)
