"""What all servers do: make the loop, say the port, serve until the harness is gone."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable

from benches import loops

#: So many connections may wait to be accepted: a dropped one would come back a second later and spoil the row.
BACKLOG = 1024


def listen() -> socket.socket:
    """A listening socket on a free port of this machine."""
    # Named as TCP, or asyncio would leave Nagle's algorithm on and a second write would wait for the peer's acknowledgement.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def main(serve: Callable[[socket.socket], Awaitable[object]]) -> None:
    """Runs ``serve`` on the loop that the command line names, for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with asyncio.Runner(loop_factory=loops.factory(sys.argv[1])) as runner:
        runner.run(_forever(serve))


async def _forever(serve: Callable[[socket.socket], Awaitable[object]]) -> None:
    sock = listen()
    running = asyncio.ensure_future(serve(sock))
    print(sock.getsockname()[1], flush=True)
    server = await running
    # Kept alive by this frame: a server that nobody holds may be collected.
    await asyncio.get_running_loop().create_future()
    del server


def _end_with_parent() -> None:
    # Blocked in read() it costs nothing; the pipe ends when the harness does, even if that was killed.
    sys.stdin.buffer.read()
    os._exit(0)
