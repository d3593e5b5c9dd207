"""TLS: handshakes that go well in a special way, and all the ways in which they fail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
import weakref
from typing import Any

import pytest

from .conftest import Ledger
from .support import LoopFactory, Recorder, Run, connect_pair, eventually, reset, socket_pair, turns
from .tls_support import (
    AUTHORITY,
    SIDES,
    TLS12,
    TLS13,
    VERSIONS,
    Contexts,
    RawPeer,
    close_both,
    collect_reports,
    over,
    tls_pair,
)
from .versions import is_asyncio


async def failing(
    tls: Contexts,
    *,
    client: ssl.SSLContext | None = None,
    server: ssl.SSLContext | None = None,
    server_hostname: str = "localhost",
) -> tuple[BaseException | None, BaseException | None, list[Any]]:
    """Connect a client to a server; how it went for the client and for the server, and what was reported."""
    reports = collect_reports()
    loop = asyncio.get_running_loop()
    ours, theirs = socket_pair("tcp")
    theirs.setblocking(False)
    protocols: list[Recorder] = []

    def factory() -> Recorder:
        protocols.append(Recorder())
        return protocols[-1]

    accepting = asyncio.create_task(loop.connect_accepted_socket(factory, theirs, ssl=server or tls.server()))
    connecting = asyncio.create_task(
        loop.create_connection(factory, sock=ours, ssl=client or tls.client(), server_hostname=server_hostname)
    )
    await asyncio.wait([accepting, connecting])
    outcomes = []
    for task in (connecting, accepting):
        error = task.exception()
        if error is None:
            transport, protocol = task.result()
            transport.close()
            error = await protocol.lost
        outcomes.append(error)
    for protocol in protocols:
        # "made" without "lost" would be a protocol that waits for ever.
        assert protocol.events.count("made") == protocol.events.count("lost") <= 1
    return outcomes[0], outcomes[1], reports


def told_why(loop_factory: LoopFactory, error: BaseException | None, *reasons: str) -> bool:
    """Whether `error` is that of a peer that was told by an alert why the handshake failed.

    asyncio keeps the alert to itself and drops the connection.
    """
    if is_asyncio(loop_factory):
        return isinstance(error, ConnectionResetError)
    return isinstance(error, ssl.SSLError) and error.reason in reasons


def test_a_callback_chooses_the_context_by_name(run: Run, tls: Contexts) -> None:
    names: list[str | None] = []

    async def main() -> None:
        stranger, server_context = tls.server("stranger"), tls.server()

        def choose(session: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            assert context is stranger
            assert isinstance(session, ssl.SSLObject)
            names.append(name)
            session.context = server_context

        stranger.sni_callback = choose
        client, server = await tls_pair(tls, server=stranger)
        assert server.transport.get_extra_info("ssl_object").context is server_context
        assert server.transport.get_extra_info("sslcontext") in (stranger, server_context)
        client.transport.write(b"hello")
        assert await server.received(5) == b"hello"
        await close_both(client, server)

    run(main)
    assert names == ["localhost"]


@pytest.mark.parametrize("answer", [ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME, "raise"], ids=["alert", "raise"])
def test_a_callback_that_refuses(
    run: Run, loop_factory: LoopFactory, tls: Contexts, answer: Any, ledger: Ledger
) -> None:
    async def main() -> None:
        def choose(_session: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> Any:
            if answer == "raise":
                raise LookupError("no such name")
            return answer

        context = tls.server()
        context.sni_callback = choose
        client, server, reports = await failing(tls, server=context)
        assert told_why(loop_factory, client, "TLSV1_UNRECOGNIZED_NAME", "SSLV3_ALERT_HANDSHAKE_FAILURE")
        assert type(server) is ssl.SSLError
        assert reports == []

    run(main)
    if answer == "raise":
        assert ledger.take_unraisable("LookupError")


@VERSIONS
def test_a_client_with_a_certificate(run: Run, tls: Contexts, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        context = tls.server(version=version)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(AUTHORITY)
        client, server = await tls_pair(tls, client=tls.client("client", version=version), server=context)
        subject = server.transport.get_extra_info("peercert")["subject"]
        assert subject == ((("commonName", "tepal tests: client"),),)
        await close_both(client, server)

    run(main)


@VERSIONS
@pytest.mark.parametrize("certificate", [None, "stranger"])
def test_a_client_without_a_valid_certificate(
    run: Run, tls: Contexts, version: ssl.TLSVersion, certificate: str | None
) -> None:
    """In TLS 1.3 the client is done before the server looks, so it hears of it on the open connection."""

    async def main() -> None:
        context = tls.server(version=version)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(AUTHORITY)
        client, server, reports = await failing(tls, client=tls.client(certificate, version=version), server=context)
        if certificate is None:
            assert type(server) is ssl.SSLError
            assert server.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        else:
            assert type(server) is ssl.SSLCertVerificationError
            assert server.verify_code == 18  # self-signed certificate
        if version == TLS12:
            assert isinstance(client, (ssl.SSLError, ConnectionResetError))
        assert reports == []

    run(main)


def test_a_server_that_nobody_vouches_for(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    async def main() -> None:
        client, server, reports = await failing(tls, server=tls.server("stranger"))
        assert type(client) is ssl.SSLCertVerificationError
        assert client.reason == "CERTIFICATE_VERIFY_FAILED"
        assert client.library == "SSL"
        assert client.verify_code == 18
        assert "self" in client.verify_message
        assert told_why(loop_factory, server, "TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_BAD_CERTIFICATE")
        assert reports == []

    run(main)


def test_a_server_by_another_name(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    async def main() -> None:
        client, server, reports = await failing(tls, server_hostname="example.org")
        assert type(client) is ssl.SSLCertVerificationError
        assert client.verify_code == 62
        assert client.verify_message == "Hostname mismatch, certificate is not valid for 'example.org'."
        assert told_why(loop_factory, server, "SSLV3_ALERT_BAD_CERTIFICATE")
        assert reports == []

    run(main)


def test_a_name_of_an_address(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=tls.server())
        transport, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname(), ssl=tls.client())
        transport.close()
        await protocol.lost
        server.close()
        await server.wait_closed()

    run(main)


def test_the_servers_handler_hears_nothing_of_strangers(run: Run, tls: Contexts) -> None:
    """A server on the open internet would log all day."""

    async def main() -> None:
        reports = collect_reports()
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls.server(version=TLS13))
        host, port = server.sockets[0].getsockname()
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(Recorder, host, port, ssl=tls.client(), server_hostname="example.org")
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await loop.create_connection(
                Recorder, host, port, ssl=tls.client(version=TLS12), server_hostname="localhost"
            )
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"", bytes(1000)):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(words)
            if len(words) < 10:
                writer.write_eof()
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()
        await turns(10)
        server.close()
        await server.wait_closed()
        assert reports == []
        assert [protocol.events for protocol in made] == [[]] * 6

    run(main)


def test_no_version_in_common(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    async def main() -> None:
        client, server, reports = await failing(tls, client=tls.client(version=TLS12), server=tls.server(version=TLS13))
        assert told_why(loop_factory, client, "TLSV1_ALERT_PROTOCOL_VERSION")
        assert type(server) is ssl.SSLError
        assert server.reason == "UNSUPPORTED_PROTOCOL"
        assert reports == []

    run(main)


@SIDES
def test_garbage_instead_of_a_handshake(run: Run, tls: Contexts, server_side: bool) -> None:
    async def main() -> None:
        reports = collect_reports()
        ours, theirs = socket_pair("tcp")
        with theirs:
            theirs.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(ssl.SSLError) as caught:
                await over(tls.of(server_side), Recorder, ours, server_side=server_side)
            assert type(caught.value) is ssl.SSLError
            # OpenSSL has several words for it, and its version and the first bytes choose.
            assert caught.value.reason in (
                "WRONG_VERSION_NUMBER",
                "HTTP_REQUEST",
                "RECORD_LAYER_FAILURE",
                "BAD_RECORD_TYPE",
            )
            assert reports == []

    run(main)


@SIDES
@pytest.mark.parametrize("end", ["eof", "reset"])
def test_the_peer_leaves_in_the_handshake(run: Run, tls: Contexts, server_side: bool, end: str) -> None:
    async def main() -> None:
        reports = collect_reports()
        ours, theirs = socket_pair("tcp")
        shaking = asyncio.create_task(over(tls.of(server_side), Recorder, ours, server_side=server_side))
        if not server_side:
            await asyncio.get_running_loop().run_in_executor(None, theirs.recv, 1)
        if end == "reset":
            reset(theirs)
        else:
            theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            await shaking
        theirs.close()
        assert reports == []

    run(main)


@SIDES
def test_a_handshake_that_takes_too_long(run: Run, tls: Contexts, server_side: bool) -> None:
    async def main() -> None:
        reports = collect_reports()
        ours, theirs = socket_pair("tcp")
        with theirs:
            with pytest.raises(ConnectionAbortedError) as caught:
                await over(tls.of(server_side), Recorder, ours, server_side=server_side, ssl_handshake_timeout=0.02)
            words = "SSL handshake is taking longer than 0.02 seconds: aborting the connection"
            assert str(caught.value) == words
            theirs.settimeout(5)
            while theirs.recv(4096):
                pass
            assert reports == []

    run(main)


def test_the_time_limit_ends_with_the_handshake(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls, ssl_handshake_timeout=0.2)
        await asyncio.sleep(0.25)
        client.transport.write(b"still here")
        assert await server.received(10) == b"still here"
        await close_both(client, server)

    run(main)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_a_time_limit_is_positive(run: Run, tls: Contexts, name: str, value: int) -> None:
    async def main() -> None:
        ours, theirs = socket_pair("tcp")
        with ours, theirs:
            with pytest.raises(ValueError, match=f"{name} should be a positive number, got {value}"):
                await over(tls.client(), Recorder, ours, server_side=False, **{name: value})

    run(main)


@SIDES
def test_cancelled_in_the_handshake(run: Run, tls: Contexts, server_side: bool) -> None:
    """Nothing stays: the ledger counts descriptors, and the context is freed."""

    async def main() -> None:
        reports = collect_reports()
        ours, theirs = socket_pair("tcp")
        context = tls.of(server_side)
        gone = weakref.ref(context)
        with theirs:
            shaking = asyncio.create_task(over(context, Recorder, ours, server_side=server_side))
            await turns(10)
            shaking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await shaking
            theirs.settimeout(5)
            while theirs.recv(4096):
                pass
            del shaking, context
            await turns(5)
            gc.collect()
            assert gone() is None
            assert reports == []

    run(main)


def test_the_lower_transport_is_aborted_in_the_handshake(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """That is the handshake's end, whoever did it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        lower, protocol, theirs = await connect_pair("tcp")
        with theirs:
            upgrading = asyncio.create_task(loop.start_tls(lower, protocol, tls.client(), server_hostname="localhost"))
            await turns()
            lower.abort()
            if is_asyncio(loop_factory):
                await upgrading  # a success, though there is no connection
            else:
                with pytest.raises(ConnectionResetError, match="closed during the SSL handshake"):
                    await upgrading

    run(main)


def test_a_factory_that_raises(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        def factory() -> asyncio.Protocol:
            raise LookupError("no protocol")

        ours, theirs = socket_pair("tcp")
        with ours, theirs, pytest.raises(LookupError, match="no protocol"):
            await over(tls.client(), factory, ours, server_side=False)

    run(main)


def test_no_context_for_a_server(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)
        ours, theirs = socket_pair("tcp")
        with ours, theirs:
            with pytest.raises(ValueError, match="Server side SSL needs a valid SSLContext"):
                await loop.connect_accepted_socket(Recorder, theirs, ssl=True)

    run(main)


def test_a_client_needs_a_name_where_the_context_checks_it(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket_pair("tcp")
        with ours, theirs:
            with pytest.raises(ValueError, match="You must set server_hostname when using ssl without a host"):
                await loop.create_connection(Recorder, sock=ours, ssl=tls.client())

    run(main)


def test_a_context_without_a_certificate(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    async def main() -> None:
        client, server, reports = await failing(tls, server=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        assert isinstance(server, ssl.SSLError)
        assert server.reason == "NO_SHARED_CIPHER"
        assert told_why(loop_factory, client, "SSLV3_ALERT_HANDSHAKE_FAILURE")
        assert reports == []

    run(main)


def test_a_hundred_handshakes_at_once(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        server = await asyncio.start_server(_upper, "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        context = tls.client()

        async def ask(number: int) -> bytes:
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.write(b"number %d\n" % number)
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line

        answers = await asyncio.gather(*map(ask, range(100)))
        assert answers == [b"NUMBER %d\n" % number for number in range(100)]
        server.close()
        await server.wait_closed()

    run(main)


async def _upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readline()).upper())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


@VERSIONS
def test_the_handshake_byte_by_byte(run: Run, tls: Contexts, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        ours, theirs = socket_pair("tcp")
        with RawPeer(theirs, Contexts("direct").server(version=version), server_side=True) as peer:
            theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            send = peer.send_raw

            async def send_slowly(data: bytes) -> None:
                for number in range(len(data)):
                    await send(data[number : number + 1])
                    await asyncio.sleep(0)

            peer.send_raw = send_slowly  # type: ignore[method-assign]
            shaking = asyncio.create_task(peer.handshake())
            transport, protocol = await over(tls.client(version=version), Recorder, ours, server_side=False)
            await shaking
            await peer.send(b"at last")
            assert await protocol.received(7) == b"at last"
            transport.abort()
            await protocol.lost

    run(main)


def test_debug_mode_says_how_it_went(run: Run, tls: Contexts, caplog: pytest.LogCaptureFixture) -> None:
    """Failures of strangers are not silent in debug mode."""

    async def main() -> None:
        ours, theirs = socket_pair("tcp")
        theirs.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with theirs, pytest.raises(ssl.SSLError):
            await over(tls.client(), Recorder, ours, server_side=False)

    with caplog.at_level("DEBUG", "asyncio"):
        run(main, debug=True)
    assert any("SSL handshake failed" in record.getMessage() for record in caplog.records)


def test_bytes_after_the_alert_do_no_harm(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        ours, theirs = socket_pair("tcp")
        with theirs:
            theirs.send(bytes(100_000))
            with pytest.raises(ssl.SSLError):
                await over(tls.client(), Recorder, ours, server_side=False)
            await eventually(lambda: ours.fileno() == -1)
        assert reports == []

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="VERIFY_X509_STRICT is a default from 3.13 on")
def test_the_strict_default_context_takes_the_tests_certificates(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        context = ssl.create_default_context(cafile=str(AUTHORITY))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        client, server = await tls_pair(tls, client=context)
        await close_both(client, server)

    run(main)
