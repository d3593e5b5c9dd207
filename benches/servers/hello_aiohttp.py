"""A "hello" on aiohttp's server."""

from __future__ import annotations

import socket

from aiohttp import web

from benches.servers._serve import BACKLOG, encryption, main


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=b"Hello, world!", content_type="text/plain")


async def serve(sock: socket.socket) -> web.AppRunner:
    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock, backlog=BACKLOG, ssl_context=encryption()).start()
    return runner


if __name__ == "__main__":
    main(serve)
