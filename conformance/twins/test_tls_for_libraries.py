"""What libraries rely on in TLS beyond its documents: private names they read, and answers they know."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from .support import Run

CERTIFICATES = Path(__file__).resolve().parents[2] / "tests" / "certificates"


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATES / "server.pem")
    client = ssl.create_default_context(cafile=CERTIFICATES / "authority.pem")
    return server, client


def test_the_context_where_aiohttp_looks_for_it(run: Run) -> None:
    async def main() -> None:
        server_context, client_context = contexts()
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_context)
        async with server:
            lost = asyncio.get_running_loop().create_future()

            class Client(asyncio.Protocol):
                def connection_lost(self, error: Exception | None) -> None:
                    lost.set_result(error)

            transport, _ = await asyncio.get_running_loop().create_connection(
                Client, *server.sockets[0].getsockname(), ssl=client_context, server_hostname="localhost"
            )
            assert transport._ssl_protocol._sslcontext is client_context  # type: ignore[attr-defined]
            transport.close()
            await lost

    run(main)


def test_start_tls_on_a_transport_that_was_closed_gives_none(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
            transport, protocol = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
            transport.close()
            assert await loop.start_tls(transport, protocol, contexts()[1], server_hostname="localhost") is None

    run(main)
