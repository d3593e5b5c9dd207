"""aiohttp's server and client, unmodified, at both ends of tepal's transports."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

Run = Callable[..., Any]


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"method": request.method, "name": request.match_info.get("name")})


async def mirror(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(100):
        await response.write(f"{number}\n".encode() * 200)
    await response.write_eof()
    return response


async def slow(request: web.Request) -> web.Response:
    request.app[STARTED].set()
    await asyncio.sleep(0.05)
    return web.Response(text="slow")


async def never(request: web.Request) -> web.Response:
    request.app[STARTED].set()
    await asyncio.Event().wait()
    return web.Response()


async def fail(_request: web.Request) -> web.Response:
    raise web.HTTPConflict(text="short and stout")


async def talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data.upper())
        elif message.type == aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data[::-1])
    return socket


STARTED = web.AppKey("started", asyncio.Event)


@contextlib.asynccontextmanager
async def serving(
    path: Path | None = None, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[web.AppRunner, str]]:
    app = web.Application(client_max_size=1 << 24)
    app[STARTED] = asyncio.Event()
    app.router.add_get("/hello/{name}", hello)
    app.router.add_post("/mirror", mirror)
    app.router.add_get("/stream", stream)
    app.router.add_get("/slow", slow)
    app.router.add_get("/never", never)
    app.router.add_get("/fail", fail)
    app.router.add_get("/talk", talk)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    if path is not None:
        await web.UnixSite(runner, str(path)).start()
        address = "http://localhost"
    else:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        address = "{}://{}:{}".format("https" if ssl_context else "http", *runner.addresses[0])
    try:
        yield runner, address
    finally:
        await runner.cleanup()


def test_requests_over_tls(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        connector = aiohttp.TCPConnector(ssl=client_context)
        async with serving(ssl_context=server_context) as (_, address):
            async with aiohttp.ClientSession(address, connector=connector) as session:
                for number in range(20):
                    async with session.get(f"/hello/{number}") as response:
                        assert await response.json() == {"method": "GET", "name": str(number)}
                body = bytes(range(256)) * 20_000
                async with session.post("/mirror", data=io.BytesIO(body)) as response:
                    assert await response.read() == body
                async with session.get("/stream") as response:
                    assert len([line async for line in response.content]) == 20_000
                async with session.ws_connect("/talk") as socket:
                    await socket.send_bytes(bytes(range(256)) * 4096)
                    assert await socket.receive_bytes() == (bytes(range(256)) * 4096)[::-1]

                async def ask(number: int) -> str:
                    async with session.get(f"/hello/{number}") as response:
                        return str((await response.json())["name"])

                assert await asyncio.gather(*map(ask, range(30))) == [str(number) for number in range(30)]

    run(main)


def test_a_server_that_is_not_trusted(run: Run, server_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving(ssl_context=server_context) as (_, address), aiohttp.ClientSession(address) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get("/hello/stranger")

    run(main)


def test_requests_over_one_connection(run: Run) -> None:
    async def main() -> None:
        async with serving() as (_, address), aiohttp.ClientSession(address) as session:
            for number in range(50):
                async with session.get(f"/hello/{number}") as response:
                    assert await response.json() == {"method": "GET", "name": str(number)}

    run(main)


def test_fifty_clients_at_once(run: Run) -> None:
    async def main() -> None:
        async with serving() as (_, address), aiohttp.ClientSession(address) as session:

            async def ask(number: int) -> str:
                async with session.get(f"/hello/{number}") as response:
                    return str((await response.json())["name"])

            assert await asyncio.gather(*map(ask, range(50))) == [str(number) for number in range(50)]

    run(main)


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_000])
def test_bodies_of_any_size(run: Run, size: int) -> None:
    async def main() -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        async with serving() as (_, address), aiohttp.ClientSession(address) as session:
            async with session.post("/mirror", data=io.BytesIO(body)) as response:
                assert await response.read() == body

    run(main)


def test_a_chunked_answer_and_a_chunked_request(run: Run) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(20):
            yield bytes([number]) * 10_000
            await asyncio.sleep(0)

    async def main() -> None:
        async with serving() as (_, address), aiohttp.ClientSession(address) as session:
            async with session.get("/stream") as response:
                lines = [line async for line in response.content]
                assert len(lines) == 20_000
                assert lines[-1] == b"99\n"
            async with session.post("/mirror", data=pieces()) as response:
                assert await response.read() == b"".join(bytes([number]) * 10_000 for number in range(20))

    run(main)


def test_an_error_is_an_answer(run: Run) -> None:
    async def main() -> None:
        async with serving() as (_, address), aiohttp.ClientSession(address) as session:
            async with session.get("/fail") as response:
                assert response.status == 409
                assert await response.text() == "short and stout"
            async with session.get("/nowhere") as response:
                assert response.status == 404

    run(main)


def test_web_sockets(run: Run) -> None:
    async def main() -> None:
        async with serving() as (_, address), aiohttp.ClientSession(address) as session:
            async with session.ws_connect("/talk") as socket:
                for number in range(20):
                    await socket.send_str(f"hello {number}")
                    assert await socket.receive_str() == f"HELLO {number}"
                await socket.send_bytes(bytes(range(256)) * 4096)
                assert await socket.receive_bytes() == (bytes(range(256)) * 4096)[::-1]

    run(main)


def test_over_a_unix_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        async with serving(path) as (_, address):
            async with aiohttp.ClientSession(address, connector=aiohttp.UnixConnector(str(path))) as session:
                async with session.get("/hello/unix") as response:
                    assert (await response.json())["name"] == "unix"

    run(main)


def test_a_client_that_gives_up(run: Run) -> None:
    async def main() -> None:
        async with serving() as (runner, address):
            timeout = aiohttp.ClientTimeout(total=0.02)
            async with aiohttp.ClientSession(address, timeout=timeout) as session:
                with pytest.raises(asyncio.TimeoutError):
                    await session.get("/never")
            assert runner.app is not None

    run(main)


def test_a_client_whose_server_is_not_there(run: Run) -> None:
    async def main() -> None:
        async with serving() as (_, address):
            pass
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(address)

    run(main)


def test_a_request_in_flight_is_answered_before_the_end(run: Run) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            runner, address = await stack.enter_async_context(serving())
            session = await stack.enter_async_context(aiohttp.ClientSession(address))
            answer = asyncio.create_task(session.get("/slow"))
            await runner.app[STARTED].wait()
            await runner.cleanup()
            async with await answer as response:
                assert await response.text() == "slow"

    run(main)
