"""TLS: what is sent arrives, whatever its size and shape, over every kind of socket and protocol."""

from __future__ import annotations

import array
import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from .support import BufferedRecorder, LoopFactory, Recorder, Run
from .tls_support import TLS12, TLS13, Contexts, close_both, expected_engine, facing, payload, tls_pair
from .versions import is_asyncio

SIZES = pytest.mark.parametrize("size", [1, 1000, 16_384, 16_385, 65_536, 262_145, pytest.param(8_000_000, id="8MB")])


class Echo(Recorder):
    """Sends back what it gets."""

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.events.append("data")
        self.transport.write(data)


KINDS = pytest.mark.parametrize(("family", "version"), [("tcp", TLS13), ("unix", TLS12)], ids=["tcp-13", "unix-12"])


@SIZES
@KINDS
def test_echo_by_protocols(run: Run, tls: Contexts, family: str, version: ssl.TLSVersion, size: int) -> None:
    async def main() -> None:
        client_context, server_context = tls.client(version=version), tls.server(version=version)
        client, server = await tls_pair(
            tls, Recorder, Echo, family=family, client=client_context, server=server_context
        )
        client.transport.write(payload(size))
        assert await client.received(size) == payload(size)
        await close_both(client, server)

    run(main)


@SIZES
def test_echo_by_streams(run: Run, tls: Contexts, size: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(size))
        await writer.drain()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        served.set_result(None)

    async def main() -> None:
        nonlocal served
        served = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port, ssl=tls.client(), server_hostname="localhost")
        writer.write(payload(size))
        assert await reader.readexactly(size) == payload(size)
        writer.close()
        await writer.wait_closed()
        await served
        server.close()
        await server.wait_closed()

    served: asyncio.Future[None]
    run(main)


def test_echo_by_unix_streams(run: Run, tls: Contexts, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()
        await writer.wait_closed()
        served.set_result(None)

    async def main() -> None:
        nonlocal served
        served = asyncio.get_running_loop().create_future()
        server = await asyncio.start_unix_server(serve, tmp_path / "socket", ssl=tls.server())
        reader, writer = await asyncio.open_unix_connection(
            tmp_path / "socket", ssl=tls.client(), server_hostname="localhost"
        )
        writer.write(b"hello\n")
        assert await reader.read() == b"HELLO\n"
        writer.close()
        await writer.wait_closed()
        await served
        server.close()
        await server.wait_closed()

    served: asyncio.Future[None]
    run(main)


def test_the_engine_is_the_one_that_the_context_asks_for(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """If this fails, the other tests of these files do not test what they say."""

    async def main() -> None:
        client, server = await tls_pair(tls)
        for protocol in (client, server):
            assert protocol.transport.get_extra_info("tls_engine") == expected_engine(loop_factory, tls)
        await close_both(client, server)

    run(main)


def test_many_messages_arrive_in_order(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        for number in range(2000):
            client.transport.write(b"%d;" % number)
            server.transport.write(b"%d!" % number)
            if number % 7 == 0:
                await asyncio.sleep(0)
        there = b"".join(b"%d;" % number for number in range(2000))
        back = b"".join(b"%d!" % number for number in range(2000))
        assert await server.received(len(there)) == there
        assert await client.received(len(back)) == back
        await close_both(client, server)

    run(main)


def test_both_ends_send_megabytes_at_once(run: Run, tls: Contexts) -> None:
    size = 3_000_000

    async def main() -> None:
        client, server = await tls_pair(tls)
        client.transport.write(payload(size))
        server.transport.write(payload(size)[::-1])
        assert await server.received(size) == payload(size)
        assert await client.received(size) == payload(size)[::-1]
        await close_both(client, server)

    run(main)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
def test_what_is_bytes_like_can_be_written(run: Run, tls: Contexts, make: Any) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        client.transport.write(make(payload(100_000)))
        client.transport.write(make(b""))
        client.transport.writelines([make(b"a"), make(b""), make(b"bc")])
        assert await server.received(100_003) == payload(100_000) + b"abc"
        await close_both(client, server)

    run(main)


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_buffer_that_changes_after_it_was_written(
    run: Run, loop_factory: LoopFactory, tls: Contexts, size: int
) -> None:
    """asyncio hands the buffer to OpenSSL at once, and so it goes out as it was; while the handshake runs it does not."""

    async def main() -> None:
        client, server = await tls_pair(tls)
        buffer = bytearray(payload(size))
        client.transport.write(buffer)
        buffer[:] = bytes(size)
        assert await server.received(size) == payload(size)
        await close_both(client, server)

    run(main)


def test_a_view_of_wider_items_counts_in_bytes(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio counts the items of such a view and loses the rest")

    async def main() -> None:
        client, server = await tls_pair(tls)
        client.transport.write(memoryview(array.array("I", range(1000))))
        assert await server.received(4000) == array.array("I", range(1000)).tobytes()
        await close_both(client, server)

    run(main)


@pytest.mark.parametrize("wrong", ["text", 7, None])
def test_what_is_not_bytes_like_is_refused(run: Run, loop_factory: LoopFactory, tls: Contexts, wrong: object) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        with pytest.raises(TypeError):
            client.transport.write(wrong)
        client.transport.write(b"fine")
        assert await server.received(4) == b"fine"
        await close_both(client, server)

    run(main)


def test_writing_in_connection_made(run: Run, tls: Contexts) -> None:
    class Greeting(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.writelines([b"good ", b"morning"])

    async def main() -> None:
        client, server = await tls_pair(tls, Greeting, Greeting)
        assert await client.received(12) == b"good morning"
        assert await server.received(12) == b"good morning"
        await close_both(client, server)

    run(main)


class Lending(BufferedRecorder):
    """Lends its buffer as a view."""

    def get_buffer(self, sizehint: int) -> Any:
        return memoryview(super().get_buffer(sizehint))


@pytest.mark.parametrize("lender", [Lending, BufferedRecorder], ids=["view", "bytearray"])
@pytest.mark.parametrize("room", [1, 7, 4096, 1 << 20])
def test_a_buffered_protocol(
    run: Run, loop_factory: LoopFactory, tls: Contexts, room: int, lender: type[BufferedRecorder]
) -> None:
    if is_asyncio(loop_factory) and lender is BufferedRecorder:
        pytest.skip("asyncio decrypts all but the first record into a copy of a bytearray, which nobody sees")
    size = 3000 if room < 100 else 1_000_000

    async def main() -> None:
        client, server = await tls_pair(tls, lambda: lender(room), Echo)
        client.transport.write(payload(size))
        assert await client.received(size) == payload(size)
        assert all(type(hint) is int for hint in client.hints)
        await close_both(client, server)
        assert client.events[-1] == "lost"

    run(main)


def test_many_messages_in_one_burst(run: Run, tls: Contexts) -> None:
    """Records that come together are delivered together or one after the other, but all of them."""

    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            await peer.send_raw(b"".join(peer.records(b"%04d" % number) for number in range(1000)))
            assert await protocol.received(4000) == b"".join(b"%04d" % number for number in range(1000))
            protocol.transport.abort()
            await protocol.lost

    run(main)


@pytest.mark.parametrize("cut", [1, 3, 5, 6, 20])
def test_a_record_that_comes_in_pieces(run: Run, tls: Contexts, cut: int) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            record = peer.records(b"in pieces")
            for begin in range(0, len(record), cut):
                await peer.send_raw(record[begin : begin + cut])
                await asyncio.sleep(0)
            assert await protocol.received(9) == b"in pieces"
            protocol.transport.abort()
            await protocol.lost

    run(main)


def test_small_writes_of_one_step_share_a_record(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio makes a record of each write; the bytes within are the same")

    async def main() -> None:
        protocol, peer = await facing(tls, version=TLS13)
        with peer:
            # What the handshake has left behind comes first.
            protocol.transport.write(b"begin")
            assert await peer.receive(5) == b"begin"
            for number in range(10):
                protocol.transport.write(b"%d" % number)
            await asyncio.sleep(0)
            data = await asyncio.get_running_loop().sock_recv(peer.sock, 65536)
            assert len(data) == 5 + 10 + 1 + 16  # header, content, its type, tag
            peer.incoming.write(data)
            assert await peer.receive(10) == b"0123456789"
            protocol.transport.abort()
            await protocol.lost

    run(main)
