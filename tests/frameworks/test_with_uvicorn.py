"""uvicorn's server over httptools and h11, unmodified; the client is aiohttp's or a bare socket."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

Run = Callable[..., Any]

CERTIFICATES = Path(__file__).resolve().parents[1] / "certificates"
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# uvicorn reads the class of "auto" only when it makes the loop itself; here it runs on the one that runs.
HTTP = pytest.mark.parametrize("http", ["httptools", "h11"])


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers with what it was sent, in pieces when asked."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-method", scope["method"].encode())]})
    if scope["path"] == "/pieces":
        for number in range(50):
            await send({"type": "http.response.body", "body": bytes([number]) * 5000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": body or b"hello"})


@contextlib.asynccontextmanager
async def serving(http: str, certificate: str | None = None) -> AsyncIterator[tuple[uvicorn.Server, str, int]]:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=http,
        ws="none",
        log_config=None,
        log_level="warning",
        lifespan="on",
        ssl_certfile=certificate,
        ssl_keyfile=certificate,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.001)
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield server, host, port
    finally:
        server.should_exit = True
        await task


@HTTP
def test_requests_over_tls(run: Run, client_context: ssl.SSLContext, http: str) -> None:
    body = bytes(range(256)) * 10_000

    async def main() -> None:
        connector = aiohttp.TCPConnector(ssl=client_context)
        async with serving(http, str(CERTIFICATES / "server.pem")) as (_, host, port):
            async with aiohttp.ClientSession(f"https://{host}:{port}", connector=connector) as session:

                async def ask(number: int) -> bytes:
                    async with session.post("/", data=str(number).encode()) as response:
                        return await response.read()

                assert await asyncio.gather(*map(ask, range(30))) == [str(number).encode() for number in range(30)]
                async with session.post("/", data=io.BytesIO(body)) as response:
                    assert await response.read() == body
                async with session.get("/pieces") as response:
                    assert len(await response.read()) == 250_000

    run(main)


@HTTP
def test_requests_over_one_connection(run: Run, http: str) -> None:
    async def main() -> None:
        async with serving(http) as (_, host, port), aiohttp.ClientSession(f"http://{host}:{port}") as session:
            for _ in range(50):
                async with session.get("/") as response:
                    assert await response.read() == b"hello"
                    assert response.headers["x-method"] == "GET"

    run(main)


@HTTP
def test_fifty_clients_at_once(run: Run, http: str) -> None:
    async def main() -> None:
        async with serving(http) as (_, host, port), aiohttp.ClientSession(f"http://{host}:{port}") as session:

            async def ask(number: int) -> bytes:
                async with session.post("/", data=str(number).encode()) as response:
                    return await response.read()

            assert await asyncio.gather(*map(ask, range(50))) == [str(number).encode() for number in range(50)]

    run(main)


@HTTP
def test_bodies_both_ways(run: Run, http: str) -> None:
    body = bytes(range(256)) * 10_000

    async def main() -> None:
        async with serving(http) as (_, host, port), aiohttp.ClientSession(f"http://{host}:{port}") as session:
            async with session.post("/", data=io.BytesIO(body)) as response:
                assert await response.read() == body
            async with session.get("/pieces") as response:
                assert await response.read() == b"".join(bytes([number]) * 5000 for number in range(50))

    run(main)


@HTTP
def test_pipelined_requests(run: Run, http: str) -> None:
    async def main() -> None:
        async with serving(http) as (_, host, port):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
            for _ in range(10):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                # No length was given, so the body comes in chunks.
                assert await reader.readuntil(b"0\r\n\r\n") == b"5\r\nhello\r\n0\r\n\r\n"
            writer.close()
            await writer.wait_closed()

    run(main)


@HTTP
def test_a_request_in_flight_is_answered_before_the_end(run: Run, http: str) -> None:
    async def main() -> None:
        async with serving(http) as (server, host, port):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.01)
            server.should_exit = True
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()
            await writer.wait_closed()

    run(main)


@HTTP
def test_clients_that_hang_up_in_the_middle(run: Run, http: str) -> None:
    async def main() -> None:
        async with serving(http) as (_, host, port):
            for request in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\ncontent-length: 100\r\n\r\nhalf"):
                _, writer = await asyncio.open_connection(host, port)
                writer.write(request)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            _, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.001)
            writer.transport.abort()
            async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/") as response:
                assert await response.read() == b"hello"

    run(main)
