"""Echo through ``loop.sock_accept``, ``sock_recv`` and ``sock_sendall``: one task per connection, no transport."""

from __future__ import annotations

import asyncio
import socket

from benches.servers._serve import main

CHUNK = 256 * 1024


async def echo(loop: asyncio.AbstractEventLoop, peer: socket.socket) -> None:
    with peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := await loop.sock_recv(peer, CHUNK):
            await loop.sock_sendall(peer, data)


async def serve(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    while True:
        peer, _ = await loop.sock_accept(sock)
        peer.setblocking(False)
        task = loop.create_task(echo(loop, peer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    main(serve)
