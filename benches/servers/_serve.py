"""What all servers do: make the loop, say the port, serve until the harness is gone."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
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


def bind_datagrams() -> socket.socket:
    """A datagram socket on a free port of this machine."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def encryption() -> ssl.SSLContext | None:
    """What to give as ``ssl=``: a context with the certificate that the command line names, None without one."""
    if len(sys.argv) < 3:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(sys.argv[2])
    return context


def main(
    serve: Callable[[socket.socket], Awaitable[object]],
    make_socket: Callable[[], socket.socket] = listen,
) -> None:
    """Runs ``serve`` on the loop that the command line names, for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with asyncio.Runner(loop_factory=loops.factory(sys.argv[1])) as runner:
        runner.run(_forever(serve, make_socket()))


async def _forever(serve: Callable[[socket.socket], Awaitable[object]], sock: socket.socket) -> None:
    port = sock.getsockname()[1]
    running = asyncio.ensure_future(serve(sock))
    # What a loop cannot do it says at the first step, and then there is no port to give.
    await asyncio.sleep(0)
    if running.done():
        running.result()
    print(port, flush=True)
    server = await running
    # Kept alive by this frame: a server that nobody holds may be collected.
    await asyncio.get_running_loop().create_future()
    del server


def _end_with_parent() -> None:
    # Blocked in read() it costs nothing; the pipe ends when the harness does, even if that was killed.
    # Not through `sys.stdin`: its lock, held here, would turn an exception's end of the process into a fatal error.
    while os.read(0, 4096):
        pass
    os._exit(0)
