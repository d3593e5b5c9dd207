"""TLS: how a connection ends, by whom, in what order, and that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from typing import Any

import pytest

from .conftest import Ledger
from .support import LoopFactory, Recorder, Run, eventually, reset, turns
from .tls_support import SIDES, VERSIONS, Contexts, close_both, collect_reports, facing, payload, tls_pair
from .versions import is_asyncio


class Closing(Recorder):
    """Closes its side when the other has finished, as most programs do without knowing."""

    def eof_received(self) -> bool | None:
        super().eof_received()
        self.transport.close()
        return None


@SIDES
@VERSIONS
def test_the_peer_says_goodbye(run: Run, tls: Contexts, server_side: bool, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls, server_side=server_side, version=version)
        with peer:
            await peer.send(b"last words")
            await protocol.received(10)
            await peer.send_raw(peer.goodbye())
            await peer.receive_goodbye()
            assert await peer.raw_end() == b""
        assert await protocol.lost is None
        assert protocol.events == ["made", "data", "eof", "lost"]

    run(main)


@SIDES
def test_data_and_goodbye_in_one_burst(run: Run, tls: Contexts, server_side: bool) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls, server_side=server_side)
        with peer:
            await peer.send_raw(peer.records(payload(50_000)) + peer.goodbye())
            await peer.receive_goodbye()
        assert await protocol.lost is None
        assert protocol.data == payload(50_000)
        assert protocol.events[0] == "made"
        assert protocol.events[-2:] == ["eof", "lost"]

    run(main)


def test_data_goodbye_and_end_of_stream_in_one_burst(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            await peer.send_raw(peer.records(payload(50_000)) + peer.goodbye())
            peer.sock.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
        assert protocol.data == payload(50_000)
        assert protocol.events.count("eof") == 1
        assert protocol.events[-1] == "lost"

    run(main)


def test_the_answer_to_a_goodbye_may_hold_data(run: Run, tls: Contexts) -> None:
    """What is written in `eof_received` still leaves, before our goodbye."""

    class Polite(Recorder):
        def eof_received(self) -> bool | None:
            super().eof_received()
            self.transport.write(b"and goodbye to you")
            return None

    async def main() -> None:
        protocol, peer = await facing(tls, Polite)
        with peer:
            await peer.send_raw(peer.goodbye())
            assert await protocol.lost is None
            # The peer's session is over by its own word; what came is looked at by its length.
            assert len(await peer.raw_end()) > 2 * 18

    run(main)


@SIDES
def test_the_stream_ends_without_a_goodbye(run: Run, tls: Contexts, server_side: bool) -> None:
    """asyncio takes it for an end like any other; whoever needs to know counts bytes."""

    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls, server_side=server_side)
        with peer:
            await peer.send(b"cut")
            await protocol.received(3)
            peer.sock.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert reports == []

    run(main)


def test_the_transport_is_closing_once_the_stream_has_ended(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """A program that writes on, or waits for room to write, finds out; asyncio says so a turn later."""

    class Asking(Recorder):
        def eof_received(self) -> bool | None:
            self.closing = self.transport.is_closing()
            return super().eof_received()

    async def main() -> None:
        protocol, peer = await facing(tls, Asking)
        assert not protocol.transport.is_closing()
        peer.sock.close()
        assert await protocol.lost is None
        assert protocol.closing or is_asyncio(loop_factory)
        assert protocol.transport.is_closing()

    run(main)


def test_the_stream_ends_in_the_middle_of_a_record(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls)
        with peer:
            await peer.send_raw(peer.records(b"whole") + peer.records(b"truncated")[:-3])
            await protocol.received(5)
            peer.sock.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
        assert protocol.data == b"whole"
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert reports == []

    run(main)


def test_a_connection_that_is_reset(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls)
        reset(peer.sock)
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert protocol.events == ["made", "lost"]
        assert reports == []

    run(main)


@VERSIONS
def test_a_record_that_was_tampered_with(run: Run, tls: Contexts, version: ssl.TLSVersion) -> None:
    """The same error, by class, library and reason, on every loop and engine."""

    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls, version=version)
        with peer:
            record = bytearray(peer.records(b"attack at dawn"))
            record[-1] ^= 1
            await peer.send_raw(bytes(record))
            error = await protocol.lost
            assert type(error) is ssl.SSLError
            assert error.library == "SSL"
            # OpenSSL 3.0 names the record, 3.6 the layer that refused it.
            assert error.reason in ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE")
            assert error.errno == ssl.SSL_ERROR_SSL
            assert str(error).startswith(f"[SSL: {error.reason}]")
        assert protocol.events == ["made", "lost"]
        assert reports == []

    run(main)


def test_garbage_after_the_handshake(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls)
        with peer:
            await peer.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            error = await protocol.lost
            assert type(error) is ssl.SSLError
            assert error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
        assert reports == []

    run(main)


def test_the_peer_is_told_of_a_bad_record(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio drops the connection and keeps the alert to itself")

    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            record = bytearray(peer.records(b"attack at dawn"))
            record[-1] ^= 1
            await peer.send_raw(bytes(record))
            with pytest.raises(ssl.SSLError) as caught:
                await peer.receive(1)
            assert caught.value.reason == "SSLV3_ALERT_BAD_RECORD_MAC"
            await protocol.lost

    run(main)


@SIDES
@VERSIONS
def test_we_close(run: Run, tls: Contexts, server_side: bool, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls, server_side=server_side, version=version)
        with peer:
            protocol.transport.write(payload(100_000))
            protocol.transport.close()
            assert protocol.events == ["made"]
            assert await peer.receive(100_000) == payload(100_000)
            await peer.receive_goodbye()
            assert protocol.events == ["made"]
            await peer.send_raw(peer.goodbye())
            assert await peer.raw_end() == b""
        assert await protocol.lost is None
        assert protocol.events == ["made", "eof", "lost"]

    run(main)


def test_close_and_the_peer_just_leaves(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls)
        protocol.transport.close()
        await peer.receive_goodbye()
        peer.sock.close()
        assert await protocol.lost is None
        assert protocol.events == ["made", "eof", "lost"]
        assert reports == []

    run(main)


def test_both_close_at_once(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        client.transport.close()
        server.transport.close()
        assert await client.lost is None
        assert await server.lost is None
        assert client.events[0] == server.events[0] == "made"
        assert client.events[-1] == server.events[-1] == "lost"

    run(main)


def test_close_twice_and_abort_after_it(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        client.transport.close()
        client.transport.close()
        assert client.transport.is_closing()
        await client.lost
        await server.lost
        assert client.events.count("lost") == 1

    run(main)


def test_abort_while_the_goodbye_is_awaited(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            protocol.transport.close()
            await peer.receive_goodbye()
            protocol.transport.abort()
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]

    run(main)


def test_abort(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            protocol.transport.abort()
            assert protocol.events == ["made"]
            assert protocol.transport.is_closing()
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]
            assert await peer.raw_end() == b""  # no goodbye

    run(main)


def test_what_is_written_right_before_abort_has_gone(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            protocol.transport.write(b"last words")
            protocol.transport.abort()
            assert await peer.receive(10) == b"last words"
            await protocol.lost

    run(main)


@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("where", ["connection_made", "data_received", "eof_received"])
def test_the_end_from_inside(run: Run, tls: Contexts, method: str, where: str) -> None:
    """No protocol method is called from inside another, and `connection_lost` comes once."""

    class Ending(Recorder):
        depth = 0

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name not in ("connection_made", "data_received", "eof_received", "connection_lost"):
                return found

            def called(*args: Any) -> Any:
                assert not self.depth
                self.depth += 1
                try:
                    result = found(*args)
                    if name == where:
                        getattr(self.transport, method)()
                    return result
                finally:
                    self.depth -= 1

            return called

    async def main() -> None:
        reports = collect_reports()
        client, server = await tls_pair(tls, Recorder, Ending)
        client.transport.write(b"data")
        if where == "eof_received":
            client.transport.close()
        await client.lost
        await server.lost
        assert server.events.count("lost") == 1
        assert server.events[0] == "made"
        assert reports == []

    run(main)


def test_no_data_after_close(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """What came before `close()` is still delivered by it; what comes later is not."""

    async def main() -> None:
        protocol, peer = await facing(tls)
        with peer:
            protocol.transport.close()
            events = list(protocol.events)
            with contextlib.suppress(ConnectionError):
                await peer.send(b"too late")
            # OpenSSL takes data after the goodbye for an error.
            error = await protocol.lost
            assert isinstance(error, ssl.SSLError)
            assert error.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
            assert events == ["made"]
            assert protocol.data == b""

    run(main)


def test_a_peer_that_never_answers_the_goodbye(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls, ssl_shutdown_timeout=0.03)
        with peer:
            protocol.transport.close()
            error = await protocol.lost
            assert type(error) is TimeoutError
            assert str(error) == "SSL shutdown timed out"
            assert protocol.events == ["made", "lost"]
        assert reports == []

    run(main)


def test_a_peer_that_never_reads_and_never_answers(run: Run, tls: Contexts) -> None:
    """Megabytes wait in front of the goodbye."""

    async def main() -> None:
        protocol, peer = await facing(tls, small=True, ssl_shutdown_timeout=0.05)
        with peer:
            protocol.transport.write(payload(20_000_000))
            protocol.transport.close()
            assert type(await protocol.lost) is TimeoutError
            assert protocol.events[-1] == "lost"

    run(main)


def test_a_peer_that_keeps_sending(run: Run, tls: Contexts) -> None:
    """It is over by the time limit at the latest, and no further megabytes are read."""

    async def main() -> None:
        protocol, peer = await facing(tls, ssl_shutdown_timeout=2)
        with peer:
            records = peer.records(bytes(1 << 20))
            protocol.transport.close()
            sent = 0
            with contextlib.suppress(ConnectionError, TimeoutError):
                while not protocol.lost.done():
                    await asyncio.wait_for(peer.send_raw(records), 5)
                    sent += len(records)
            await protocol.lost
            assert len(protocol.data) <= 1 << 18
            assert sent < 30 << 20

    run(main)


def test_a_peer_that_said_goodbye_and_reads_nothing(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio forgets the time limit at the peer's goodbye, and lingers")

    async def main() -> None:
        protocol, peer = await facing(tls, small=True, ssl_shutdown_timeout=0.05)
        with peer:
            protocol.transport.write(payload(20_000_000))
            await peer.send_raw(peer.goodbye())
            assert type(await protocol.lost) is TimeoutError

    run(main)


def test_a_peer_that_ended_its_stream_and_reads_nothing(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio sets no time limit in this case, and lingers")

    async def main() -> None:
        protocol, peer = await facing(tls, small=True, ssl_shutdown_timeout=0.05)
        with peer:
            protocol.transport.write(payload(20_000_000))
            peer.sock.shutdown(socket.SHUT_WR)
            assert type(await protocol.lost) is TimeoutError

    run(main)


@pytest.mark.parametrize("end", ["goodbye", "eof"])
def test_close_while_reading_is_paused_and_the_peer_is_gone(
    run: Run, loop_factory: LoopFactory, tls: Contexts, end: str
) -> None:
    """A stream reader that has enough pauses; whoever closes then will not resume."""
    if is_asyncio(loop_factory):
        pytest.skip("asyncio keeps such a connection for ever")

    async def main() -> None:
        protocol, peer = await facing(tls, ssl_shutdown_timeout=0.05)
        protocol.transport.pause_reading()
        await peer.send(b"unread")
        if end == "goodbye":
            await peer.send_raw(peer.goodbye())
        peer.sock.close()
        await asyncio.sleep(0.01)
        assert protocol.events == ["made"]
        protocol.transport.close()
        await protocol.lost
        assert protocol.events[-1] == "lost"

    run(main)


def test_the_end_waits_for_a_paused_reader(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        protocol, peer = await facing(tls)
        protocol.transport.pause_reading()
        await peer.send(b"last words")
        peer.sock.close()
        await asyncio.sleep(0.005)
        assert protocol.events == ["made"]
        assert not protocol.transport.is_closing()
        protocol.transport.resume_reading()
        assert await protocol.lost is None
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert protocol.data == b"last words"

    run(main)


def test_writes_after_close_are_swallowed_and_then_logged(run: Run, tls: Contexts, ledger: Ledger) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        client.transport.close()
        for _ in range(5):
            client.transport.write(b"nobody hears this")
        assert ledger.take_logs() == []
        for _ in range(3):
            client.transport.write(b"nobody hears this")
        assert [record.getMessage() for record in ledger.take_logs()] == ["SSL connection is closed"] * 3
        await client.lost
        await server.lost
        assert server.data == b""
        client.transport.write(b"nor this")
        assert len(ledger.take_logs("SSL connection is closed")) == 1

    run(main)


def test_true_from_eof_received_has_no_effect(run: Run, tls: Contexts, ledger: Ledger) -> None:
    class Staying(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            return True

    async def main() -> None:
        client, server = await tls_pair(tls, Recorder, Staying)
        client.transport.close()
        assert await server.lost is None
        await client.lost

    run(main)
    (record,) = ledger.take_logs()
    assert record.getMessage() == "returning true from eof_received() has no effect when using ssl"


def test_the_goodbye_says_the_same_to_streams(run: Run, tls: Contexts) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"everything"
        # The peer has said goodbye: what is written now may be lost, and closing works.
        writer.close()
        await writer.wait_closed()
        served.set_result(reader.at_eof())

    async def main() -> None:
        nonlocal served
        served = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(host, port, ssl=tls.client())
        writer.write(b"everything")
        writer.close()
        await writer.wait_closed()
        assert await served
        server.close()
        await server.wait_closed()

    served: asyncio.Future[bool]
    run(main)


def test_buffers_are_freed_at_the_end(run: Run, tls: Contexts) -> None:
    """Whoever keeps a dead transport keeps no megabytes with it."""

    async def main() -> None:
        protocol, peer = await facing(tls, small=True)
        with peer:
            protocol.transport.write(payload(10_000_000))
            await turns()
            protocol.transport.abort()
            await protocol.lost
            assert protocol.transport.get_write_buffer_size() == 0

    run(main)


def test_goodbyes_take_no_time(run: Run, tls: Contexts) -> None:
    """A hundred connections, opened and closed in good order, wait for no timer."""

    async def main() -> None:
        begin = time.monotonic()
        for _ in range(30):
            client, server = await tls_pair(tls, ssl_shutdown_timeout=30)
            client.transport.close()
            await client.lost
            await server.lost
        assert time.monotonic() - begin < 15

    run(main)


def test_a_lost_connection_takes_no_writes_to_the_next(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        first = await tls_pair(tls)
        second = await tls_pair(tls)
        first[0].transport.write(b"first")
        second[0].transport.write(b"second")
        assert await first[1].received(5) == b"first"
        assert await second[1].received(6) == b"second"
        first[0].transport.abort()
        second[0].transport.write(b"again")
        assert await second[1].received(11) == b"secondagain"
        await eventually(lambda: first[1].lost.done())
        await first[0].lost
        await close_both(*second)

    run(main)
