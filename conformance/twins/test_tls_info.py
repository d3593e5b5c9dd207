"""TLS: what `get_extra_info` and the session object tell, before, during and after a connection."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .support import LoopFactory, Recorder, Run, connect_pair, socket_pair, turns
from .tls_support import (
    CERTIFICATES,
    TLS12,
    TLS13,
    VERSIONS,
    Contexts,
    OwnObject,
    close_both,
    expected_engine,
    over,
    tls_pair,
)
from .versions import is_asyncio

KEYS = ["peercert", "cipher", "compression", "ssl_object"]


@VERSIONS
def test_facts_of_an_open_connection(run: Run, tls: Contexts, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        client_context, server_context = tls.client(version=version), tls.server(version=version)
        client, server = await tls_pair(tls, client=client_context, server=server_context)
        for protocol, context in ((client, client_context), (server, server_context)):
            told = protocol.transport.get_extra_info
            ssl_object = told("ssl_object")
            assert isinstance(ssl_object, ssl.SSLObject)
            assert told("sslcontext") is context is ssl_object.context
            assert told("cipher") == ssl_object.cipher()
            assert len(told("cipher")) == 3
            assert told("compression") is None
            assert ssl_object.version() == {TLS12: "TLSv1.2", TLS13: "TLSv1.3"}[version]
            assert ssl_object.server_side == (protocol is server)
            assert isinstance(told("socket").fileno(), int)
            assert told("socket").family == socket.AF_INET
            assert told("sockname") == told("socket").getsockname()
            assert told("peername") == told("socket").getpeername()
            assert told("nothing of the kind") is None
            assert told("nothing of the kind", 7) == 7
        subject = (("commonName", "localhost"),)
        assert client.transport.get_extra_info("peercert")["subject"] == (subject,)
        assert client.transport.get_extra_info("ssl_object").server_hostname == "localhost"
        assert not server.transport.get_extra_info("peercert")  # the client showed none
        await close_both(client, server)

    run(main)


def test_facts_before_the_handshake(run: Run, tls: Contexts) -> None:
    """Nobody is given a transport before the handshake, but the layer below has it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        lower, protocol, theirs = await connect_pair("tcp")
        context = tls.client()
        with theirs:
            upgrading = asyncio.create_task(loop.start_tls(lower, protocol, context, server_hostname="localhost"))
            await turns()
            told = lower.get_protocol()._app_transport.get_extra_info  # type: ignore[attr-defined]
            assert told("sslcontext") is context
            assert [told(key, "unknown") for key in KEYS] == ["unknown"] * 4
            assert told("peername") == theirs.getsockname()
            upgrading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upgrading

    run(main)


def test_facts_inside_connection_made(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    class Asking(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.facts = [transport.get_extra_info(key) for key in KEYS]
            self.engine = transport.get_extra_info("tls_engine")

    async def main() -> None:
        client, server = await tls_pair(tls, Asking, Asking)
        for protocol in (client, server):
            assert protocol.facts[1] == protocol.facts[3].cipher()
            assert protocol.facts[3] is protocol.transport.get_extra_info("ssl_object")
            assert protocol.engine == expected_engine(loop_factory, tls)
        await close_both(client, server)

    run(main)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_facts_after_the_end(run: Run, loop_factory: LoopFactory, tls: Contexts, end: str) -> None:
    """What TLS knew stays known; what the socket knows goes with it, in asyncio."""

    async def main() -> None:
        client, server = await tls_pair(tls)
        told = client.transport.get_extra_info
        before = [told(key) for key in [*KEYS, "sslcontext"]]
        getattr(client.transport, end)()
        assert [told(key) for key in [*KEYS, "sslcontext"]] == before
        await client.lost
        await server.lost
        assert [told(key) for key in [*KEYS, "sslcontext"]] == before
        assert told("tls_engine") is None

    run(main)


def _with_sni(context: ssl.SSLContext) -> None:
    context.sni_callback = lambda _session, _name, _context: None


def _with_message_callback(context: ssl.SSLContext) -> None:
    context._msg_callback = lambda *_facts: None  # type: ignore[attr-defined]


def _with_key_log(context: ssl.SSLContext) -> None:
    context.keylog_filename = os.devnull


def _with_own_object(context: ssl.SSLContext) -> None:
    context.sslobject_class = OwnObject


@pytest.mark.parametrize("change", [_with_sni, _with_message_callback, _with_key_log, _with_own_object])
def test_contexts_that_look_at_the_session_go_through_python(
    run: Run, loop_factory: LoopFactory, change: Callable[[ssl.SSLContext], None]
) -> None:
    async def main() -> None:
        tls = Contexts("direct")
        context = tls.server()
        change(context)
        client, server = await tls_pair(tls, server=context)
        engine = server.transport.get_extra_info("tls_engine")
        assert engine == (None if is_asyncio(loop_factory) else "bio")
        assert client.transport.get_extra_info("tls_engine") == expected_engine(loop_factory, tls)
        client.transport.write(b"hello")
        assert await server.received(5) == b"hello"
        await close_both(client, server)

    run(main)


def test_a_context_class_of_the_programs_own(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    class Own(ssl.SSLContext):
        wrapped = 0

        def wrap_bio(self, *args: Any, **keywords: Any) -> ssl.SSLObject:
            self.wrapped += 1
            return super().wrap_bio(*args, **keywords)

    async def main() -> None:
        context = Own(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / "server.pem")
        client, server = await tls_pair(tls, server=context)
        assert context.wrapped == 1
        await close_both(client, server)

    run(main)


def test_the_key_log_is_written(run: Run, tls: Contexts, tmp_path: Path) -> None:
    async def main() -> None:
        context = tls.client(version=TLS13)
        context.keylog_filename = str(tmp_path / "keys")
        client, server = await tls_pair(tls, client=context)
        await close_both(client, server)
        text = (tmp_path / "keys").read_text()
        assert "CLIENT_TRAFFIC_SECRET_0" in text

    run(main)


def test_the_message_callback_sees_records(run: Run, tls: Contexts) -> None:
    seen: list[str] = []

    async def main() -> None:
        context = tls.client()
        context._msg_callback = lambda _s, direction, *_facts: seen.append(direction)  # type: ignore[attr-defined]
        client, server = await tls_pair(tls, client=context)
        after_handshake = len(seen)
        client.transport.write(b"hello")
        assert await server.received(5) == b"hello"
        assert len(seen) > after_handshake
        await close_both(client, server)

    run(main)
    assert {"read", "write"} <= set(seen)


@VERSIONS
def test_alpn(run: Run, tls: Contexts, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        client_context, server_context = tls.client(version=version), tls.server(version=version)
        client_context.set_alpn_protocols(["spdy/9", "http/1.1", "h2"])
        server_context.set_alpn_protocols(["h2", "http/1.1"])
        client, server = await tls_pair(tls, client=client_context, server=server_context)
        for protocol in (client, server):
            assert protocol.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        await close_both(client, server)

    run(main)


def test_the_session_is_used_again(run: Run, tls: Contexts) -> None:
    """The session can be read after the handshake. (asyncio offers no argument to hand it to the next connection.)"""

    async def main() -> None:
        client, server = await tls_pair(tls, client=tls.client(version=TLS12), server=tls.server(version=TLS12))
        ssl_object = client.transport.get_extra_info("ssl_object")
        assert isinstance(ssl_object.session, ssl.SSLSession)
        assert ssl_object.session.id
        assert not ssl_object.session_reused
        await close_both(client, server)
        assert ssl_object.session.id

    run(main)


def test_the_session_is_used_again_by_a_context_that_hands_it_on(run: Run, tls: Contexts) -> None:
    class Resuming(ssl.SSLContext):
        session: ssl.SSLSession | None = None

        def wrap_bio(self, *args: Any, **keywords: Any) -> ssl.SSLObject:
            return super().wrap_bio(*args, **{**keywords, "session": self.session})

    async def main() -> None:
        server_context = tls.server(version=TLS12)
        context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(CERTIFICATES / "authority.pem")
        context.maximum_version = TLS12
        if tls.engine == "bio":
            context.sslobject_class = OwnObject
        client, server = await tls_pair(tls, client=context, server=server_context)
        context.session = client.transport.get_extra_info("ssl_object").session
        await close_both(client, server)
        client, server = await tls_pair(tls, client=context, server=server_context)
        assert client.transport.get_extra_info("ssl_object").session_reused
        client.transport.write(b"again")
        assert await server.received(5) == b"again"
        await close_both(client, server)

    run(main)


def test_true_stands_for_the_default_context(run: Run, tls: Contexts) -> None:
    """It trusts the system's authorities, and ours is none of them."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await loop.create_connection(Recorder, host, port, ssl=True)
        assert caught.value.verify_code == 20  # unable to get local issuer certificate
        server.close()
        await server.wait_closed()

    run(main)


def test_the_default_context_and_no_name(run: Run, tls: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty name stands for "do not check it"; the chain is checked all the same."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Recorder, host, port, ssl=True, server_hostname="")
        assert transport.get_extra_info("sslcontext").check_hostname is False
        assert transport.get_extra_info("sslcontext").verify_mode is ssl.CERT_REQUIRED
        assert transport.get_extra_info("ssl_object").server_hostname is None
        transport.close()
        await protocol.lost
        transport, protocol = await loop.create_connection(Recorder, host, port, ssl=True)
        assert transport.get_extra_info("ssl_object").server_hostname == "127.0.0.1"
        transport.close()
        await protocol.lost
        server.close()
        await server.wait_closed()

    run(main)


def test_certificate_files_may_be_gone(run: Run, tls: Contexts, tmp_path: Path) -> None:
    async def main() -> None:
        copy = tmp_path / "server.pem"
        copy.write_bytes((CERTIFICATES / "server.pem").read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(copy)
        copy.unlink()
        client, server = await tls_pair(tls, server=context)
        await close_both(client, server)

    run(main)


def test_a_context_serves_two_loops(run: Run, tls: Contexts) -> None:
    contexts = {"client": tls.client(), "server": tls.server()}

    async def main() -> None:
        client, server = await tls_pair(tls, **contexts)
        await close_both(client, server)

    run(main)
    run(main)


def test_the_face_of_the_transport(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        transport = client.transport
        assert isinstance(transport, asyncio.Transport)
        assert transport.can_write_eof() is False
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        assert transport.is_reading()
        assert not transport.is_closing()
        assert transport.get_protocol() is client
        assert transport.get_write_buffer_size() == 0
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        transport.note = "attributes may be set"
        transport.close()
        assert transport.is_closing()
        await client.lost
        await server.lost
        assert transport.is_closing()

    run(main)


def test_a_transport_that_is_dropped_open_warns(run: Run, tls: Contexts, ledger: Any) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        server.transport.abort()
        await server.lost
        del client
        del server

    async def dropping() -> None:
        ours, theirs = socket_pair("unix")
        loop = asyncio.get_running_loop()
        accepting = asyncio.create_task(loop.connect_accepted_socket(Recorder, theirs, ssl=tls.server()))
        await over(tls.client(), Recorder, ours, server_side=False)
        await accepting

    run(dropping)
    warned = ledger.take_warnings(ResourceWarning)
    assert sum("unclosed transport" in text for text in warned) >= 2, warned
