"""httpx's public client, by way of anyio, against uvicorn: both ends on the loop in place."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import certificates
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route


async def echo(request: Request) -> Response:
    return Response(await request.body(), headers={"x-method": request.method})


async def numbers(request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(int(request.query_params["n"])):
            yield f"{number}\n" * 100

    return StreamingResponse(lines())


async def hang(request: Request) -> Response:
    request.app.state.entered.set()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    request.app.state.left.set()
    return Response()


async def client_port(request: Request) -> JSONResponse:
    assert request.client is not None
    return JSONResponse({"port": request.client.port, "scheme": request.url.scheme})


def make_app() -> Starlette:
    routes = [
        Route("/echo", echo, methods=["GET", "POST", "PUT"]),
        Route("/numbers", numbers),
        Route("/hang", hang),
        Route("/port", client_port),
        Route("/away", lambda request: RedirectResponse("/port")),
    ]
    return Starlette(routes=routes)


@contextlib.asynccontextmanager
async def serving(app: Starlette, **options: Any) -> AsyncIterator[int]:
    app.state.entered, app.state.left = asyncio.Event(), asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config = uvicorn.Config(app, log_config=None, lifespan="off", **options)
        server = uvicorn.Server(config)
        # Without its own signal handlers, which are for a process of its own.
        task = asyncio.create_task(server._serve([sock]))
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def converse(main: Callable[[httpx.AsyncClient, Starlette], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        app = make_app()
        encrypted = "ssl_certfile" in options
        scheme, verify = ("https", certificates.client_context()) if encrypted else ("http", False)
        async with (
            serving(app, **options) as port,
            httpx.AsyncClient(base_url=f"{scheme}://localhost:{port}", verify=verify, timeout=None) as client,
        ):
            await main(client, app)

    asyncio.run(whole())


async def exchanges(client: httpx.AsyncClient, app: Starlette) -> None:
    for method, body in (("GET", b""), ("POST", b"hello"), ("PUT", bytes(2_000_000))):
        answer = await client.request(method, "/echo", content=body)
        assert (answer.status_code, answer.headers["x-method"], answer.content) == (200, method, body)


async def many(client: httpx.AsyncClient, app: Starlette) -> None:
    answers = await asyncio.gather(*(client.post("/echo", content=str(n).encode()) for n in range(200)))
    assert [answer.content for answer in answers] == [str(n).encode() for n in range(200)]


def test_exchanges() -> None:
    converse(exchanges)


def test_many_at_once() -> None:
    converse(many)


def test_a_connection_is_used_again() -> None:
    async def main(client: httpx.AsyncClient, app: Starlette) -> None:
        ports = {(await client.get("/port")).json()["port"] for _ in range(10)}
        assert len(ports) == 1
        assert (await client.get("/away", follow_redirects=True)).json()["port"] in ports

    converse(main)


def test_streams_both_ways() -> None:
    async def main(client: httpx.AsyncClient, app: Starlette) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(100):
                yield bytes([number]) * 10_000

        answer = await client.post("/echo", content=pieces())
        assert answer.content == b"".join([bytes([number]) * 10_000 for number in range(100)])
        async with client.stream("GET", "/numbers", params={"n": 1000}) as stream:
            lines = [line async for line in stream.aiter_lines()]
        assert lines == [str(number) for number in range(1000) for _ in range(100)]

    converse(main)


def test_a_cancelled_request_reaches_the_server_as_a_disconnect() -> None:
    async def main(client: httpx.AsyncClient, app: Starlette) -> None:
        task = asyncio.create_task(client.get("/hang"))
        await app.state.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await app.state.left.wait()
        assert (await client.get("/port")).status_code == 200

    converse(main)


def test_nobody_listens() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{port}/")

    asyncio.run(main())


def test_encrypted(tmp_path: Path) -> None:
    files = certificates.write(tmp_path)
    tls = {"ssl_certfile": str(files.certificate), "ssl_keyfile": str(files.key)}

    async def main(client: httpx.AsyncClient, app: Starlette) -> None:
        assert (await client.get("/port")).json()["scheme"] == "https"
        await exchanges(client, app)
        await many(client, app)

    converse(main, **tls)


def test_a_certificate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    files = certificates.write(tmp_path)

    async def main() -> None:
        async with (
            serving(make_app(), ssl_certfile=str(files.certificate), ssl_keyfile=str(files.key)) as port,
            httpx.AsyncClient() as client,
        ):
            with pytest.raises(httpx.ConnectError):
                await client.get(f"https://localhost:{port}/")

    asyncio.run(main())
