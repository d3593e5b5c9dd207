"""A bare ASGI "hello" on uvicorn with httptools."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from benches.servers._serve import BACKLOG, encryption, main

Message = MutableMapping[str, Any]
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]


async def hello(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def serve(sock: socket.socket) -> None:
    context = encryption()
    # "none": the loop is made before uvicorn is asked.
    config = uvicorn.Config(
        hello,
        http="httptools",
        loop="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        backlog=BACKLOG,
        # The same context for all servers; uvicorn would make one of its own.
        ssl_context_factory=(lambda config, make_default: context) if context else None,
    )
    await uvicorn.Server(config).serve(sockets=[sock])


if __name__ == "__main__":
    main(serve)
