"""TLS: what waits to be encrypted, the marks that count it, and peers that read slowly."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from .support import LoopFactory, Recorder, Run, eventually, turns
from .tls_support import FAMILIES, TLS12, Contexts, RawPeer, close_both, collect_reports, facing, payload, tls_pair
from .versions import is_asyncio


class Marking(Recorder):
    """Also writes down how much waits when it is told to pause and to resume."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.sizes.append(self.transport.get_write_buffer_size())
        self.writable.clear()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.sizes.append(self.transport.get_write_buffer_size())
        self.writable.set()


def write_much(transport: Any, size: int) -> bytes:
    """Write so many bytes, in pieces: one that is large is encrypted and handed down as a whole, and none waits."""
    data = payload(size)
    for begin in range(0, size, 100_000):
        transport.write(data[begin : begin + 100_000])
    return data


async def read_slowly(peer: RawPeer, count: int) -> bytes:
    """Read so many bytes of data a little at a time."""
    data = bytearray()
    while len(data) < count:
        data += await peer.do(lambda: peer.tls.read(20_000))
        await asyncio.sleep(0)
    return bytes(data)


@FAMILIES
def test_megabytes_to_a_slow_reader(run: Run, tls: Contexts, family: str) -> None:
    size = 6_000_000

    async def main() -> None:
        protocol, peer = await facing(tls, Marking, family=family, small=True)
        with peer:
            data = write_much(protocol.transport, size)
            assert await read_slowly(peer, size) == data
            assert protocol.transport.get_write_buffer_size() == 0
            protocol.transport.abort()
            await protocol.lost
        flow = [event for event in protocol.events if event in ("pause", "resume")]
        assert flow == ["pause", "resume"] * (len(flow) // 2)
        assert flow

    run(main)


def test_pausing_and_resuming_alternate(run: Run, tls: Contexts) -> None:
    size = 5_000_000

    async def main() -> None:
        protocol, peer = await facing(tls, Marking, small=True)
        with peer:
            protocol.transport.set_write_buffer_limits(high=100_000)

            async def write() -> None:
                data = memoryview(payload(size))
                for begin in range(0, size, 30_000):
                    await protocol.writable.wait()
                    protocol.transport.write(data[begin : begin + 30_000])

            writing = asyncio.create_task(write())
            assert await read_slowly(peer, size) == payload(size)
            await writing
            await eventually(lambda: protocol.transport.get_write_buffer_size() == 0)
            protocol.transport.abort()
            await protocol.lost
        flow = [event for event in protocol.events if event in ("pause", "resume")]
        assert len(flow) > 4
        assert flow == ["pause", "resume"] * (len(flow) // 2)
        assert all(size > 100_000 for size in protocol.sizes[::2])
        assert all(size <= 25_000 for size in protocol.sizes[1::2])

    run(main)


def test_limits(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls, Marking)
        transport = client.transport
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=1000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        transport.set_write_buffer_limits(high=8, low=8)
        assert transport.get_write_buffer_limits() == (8, 8)
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_limits() == (0, 0)
        transport.set_write_buffer_limits()
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        for wrong in ({"high": 1, "low": 2}, {"low": -1}, {"high": -1}):
            with pytest.raises(ValueError, match="must be >= "):
                transport.set_write_buffer_limits(**wrong)
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        await close_both(client, server)

    run(main)


def test_lower_limits_take_effect_at_once(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls, Marking, small=True)
        with peer:
            # First the lower transport fills up, then this one.
            while protocol.transport.get_write_buffer_size() < 200_000:
                protocol.transport.write(bytes(100_000))
            assert protocol.events == ["made"]
            protocol.transport.set_write_buffer_limits(high=100_000)
            assert protocol.events == ["made", "pause"]
            protocol.transport.abort()
            await protocol.lost

    run(main)


def test_what_is_written_before_the_handshake_waits(run: Run, tls: Contexts) -> None:
    """The layer's transport exists before its connection is made; what it is given goes first."""

    async def main() -> None:
        client, server = await tls_pair(tls)
        # Through start_tls: the transport of the inner session is known to its layer at once.
        loop = asyncio.get_running_loop()
        accepting = asyncio.create_task(loop.start_tls(server.transport, server, tls.server(), server_side=True))
        await turns()
        connecting = asyncio.create_task(
            loop.start_tls(client.transport, client, tls.client(), server_hostname="localhost")
        )
        await turns(3)
        inner = client.transport.get_protocol()._app_transport
        inner.write(b"patience")
        assert inner.get_write_buffer_size() >= 8
        connected, accepted = await asyncio.gather(connecting, accepting)
        assert await server.received(8) == b"patience"
        assert inner.get_write_buffer_size() == 0
        assert connected is inner
        connected.close()
        await client.lost
        await server.lost
        del accepted

    run(main)


def test_flow_stops_at_the_lower_transport(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """Little is encrypted ahead: what waits, waits as plain text, and a slow peer costs no second copy of it."""
    if is_asyncio(loop_factory):
        pytest.skip("asyncio encrypts and hands down all of it as soon as the lower transport has room for a little")

    async def main() -> None:
        protocol, peer = await facing(tls, Marking, small=True)
        with peer:
            data = write_much(protocol.transport, 10_000_000)
            await turns()
            assert protocol.transport.get_write_buffer_size() > 3_000_000
            lower = protocol.transport._lower
            largest = 0

            async def watch() -> None:
                nonlocal largest
                while True:
                    largest = max(largest, lower.get_write_buffer_size())
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            assert await read_slowly(peer, 10_000_000) == data
            watching.cancel()
            assert largest < 1_000_000
            protocol.transport.abort()
            await protocol.lost

    run(main)


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_flow_methods_that_raise(run: Run, loop_factory: LoopFactory, tls: Contexts, method: str) -> None:
    class Failing(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            if method == "pause_writing":
                raise LookupError("in pause_writing")

        def resume_writing(self) -> None:
            super().resume_writing()
            if method == "resume_writing":
                raise LookupError("in resume_writing")

    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls, Failing, small=True)
        with peer:
            data = write_much(protocol.transport, 5_000_000)
            assert await read_slowly(peer, 5_000_000) == data
            (report,) = reports
            assert report["message"] == f"protocol.{method}() failed"
            assert isinstance(report["exception"], LookupError)
            assert isinstance(report["transport"], asyncio.Transport)
            protocol.transport.write(b"still open")
            assert await peer.receive(10) == b"still open"
            protocol.transport.abort()
            await protocol.lost

    run(main)


def test_a_protocol_that_writes_in_resume_writing(run: Run, tls: Contexts) -> None:
    class Refilling(Recorder):
        left = 20

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.left:
                self.left -= 1
                write_much(self.transport, 600_000)

    async def main() -> None:
        protocol, peer = await facing(tls, Refilling, small=True)
        with peer:
            write_much(protocol.transport, 5_000_000)
            assert len(await read_slowly(peer, 5_000_000 + 20 * 600_000)) == 17_000_000
            protocol.transport.abort()
            await protocol.lost

    run(main)


def test_drain_waits_for_a_slow_reader(run: Run, tls: Contexts) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(40):
            writer.write(bytes(200_000))
            await writer.drain()
            sizes.append(writer.transport.get_write_buffer_size())
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port, ssl=tls.client())
        total = 0
        while chunk := await reader.read(100_000):
            total += len(chunk)
            await turns(2)
        assert total == 8_000_000
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    sizes: list[int] = []
    run(main)
    assert max(sizes) <= 512 * 1024


def test_writelines_that_fail_in_the_middle(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio finds out when it encrypts, and drops the connection")

    async def main() -> None:
        client, server = await tls_pair(tls)
        with pytest.raises(TypeError):
            client.transport.writelines([b"good", 7])
        client.transport.write(b"later")
        assert await server.received(9) == b"goodlater"
        await close_both(client, server)

    run(main)


@pytest.mark.parametrize("unread", [False, True])
def test_writing_after_a_goodbye_through_the_session(run: Run, tls: Contexts, unread: bool) -> None:
    """A program that says goodbye through the session object breaks its connection; the error says how."""

    async def main() -> None:
        collect_reports()
        client, server = await tls_pair(tls, client=tls.client(version=TLS12))
        if unread:
            client.transport.pause_reading()
            server.transport.write(b"unread")
            await eventually(lambda: client.transport.get_read_buffer_size() > 0)
        session = client.transport.get_extra_info("ssl_object")
        with pytest.raises(ssl.SSLError):
            session.unwrap()
        client.transport.write(b"too late")
        error: Any = await client.lost
        assert getattr(error, "reason", None) == "PROTOCOL_IS_SHUTDOWN"
        await server.lost
        assert server.data == b""

    run(main)
