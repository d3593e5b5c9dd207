"""Unix sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from typing import Any

from ..probes import probe
from ..support import Echo, Seen, directory, failure, talk


async def ask(loop: Any, path: Any) -> bytes:
    """What a server echoes."""
    transport, protocol = await loop.create_unix_connection(Seen, path)
    return await talk(transport, protocol)


@probe("create_unix_connection", "protocol_factory", "path")
@probe("create_unix_server", "protocol_factory", "path")
async def path(loop: Any) -> object:
    with directory() as place:
        server = await loop.create_unix_server(Echo, str(place / "s"))
        seen: list[object] = [await ask(loop, str(place / "s"))]
        server.close()
        return [*seen, await failure(loop.create_unix_connection, Seen, str(place / "nobody"))]


@probe("create_unix_connection", "path", case="a path object, bytes")
@probe("create_unix_server", "path", case="a path object, bytes")
async def other_paths(loop: Any) -> object:
    seen: list[object] = []
    with directory() as place:
        for where in (place / "a", os.fsencode(place / "b")):
            server = await loop.create_unix_server(Echo, where)
            seen.append(await ask(loop, where))
            server.close()
    return seen


@probe("create_unix_connection", "path", case="an abstract name")
@probe("create_unix_server", "path", case="an abstract name")
async def abstract(loop: Any) -> object:
    name = f"\0tepal-probe-{os.getpid()}"
    server = await loop.create_unix_server(Echo, name)
    answer = await ask(loop, name)
    server.close()
    return answer


@probe("create_unix_server", "path", case="a file or a stale socket is there")
async def taken(loop: Any) -> object:
    with directory() as place:
        (place / "file").touch()
        seen: list[object] = [await failure(loop.create_unix_server, Echo, str(place / "file"))]
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(place / "s"))
        server = await loop.create_unix_server(Echo, str(place / "s"))
        seen.append(await ask(loop, str(place / "s")))
        server.close()
    return seen


@probe("create_unix_connection", "sock")
async def connection_sock(loop: Any) -> object:
    ours, peer = socket.socketpair()
    with ours, peer:
        transport, protocol = await loop.create_unix_connection(Seen, sock=ours)
        peer.send(b"hello")
        seen: list[object] = [await protocol.read(5)]
        transport.close()
        await protocol.lost
        seen.append(await failure(loop.create_unix_connection, Seen, "path", sock=peer))
    with socket.socket() as internet:
        seen.append(await failure(loop.create_unix_connection, Seen, sock=internet))
    return [*seen, await failure(loop.create_unix_connection, Seen)]


@probe("create_unix_server", "sock")
async def server_sock(loop: Any) -> object:
    with directory() as place, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place / "bound"))
        server = await loop.create_unix_server(Echo, sock=bound)
        seen: list[object] = [await ask(loop, place / "bound")]
        server.close()
        seen.append(await failure(loop.create_unix_server, Echo, place / "other", sock=bound))
    with socket.socket() as internet:
        seen.append(await failure(loop.create_unix_server, Echo, sock=internet))
    return [*seen, await failure(loop.create_unix_server, Echo)]


@probe("create_unix_server", "backlog")
async def backlog(loop: Any) -> object:
    """How many may wait to be accepted, while the loop does not come to it: the kernel takes one more, then none."""
    taken = 0
    with directory() as place:
        server = await loop.create_unix_server(Echo, place / "s", backlog=2)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(10)]
        for client in waiting:
            client.setblocking(False)
            taken += client.connect_ex(str(place / "s")) == 0
        for client in waiting:
            client.close()
        await asyncio.sleep(0.01)  # Until the queue is empty: who comes before that is turned away.
        answer = taken, await ask(loop, place / "s")
        server.close()
    return answer


@probe("create_unix_server", "start_serving")
async def start_serving(loop: Any) -> object:
    with directory() as place:
        server = await loop.create_unix_server(Echo, place / "s", start_serving=False)
        seen: list[object] = [server.is_serving(), await failure(loop.create_unix_connection, Seen, place / "s")]
        await server.start_serving()
        seen += [server.is_serving(), await ask(loop, place / "s")]
        server.close()
    return seen


@probe("create_unix_server", "cleanup_socket", since=(3, 13))
async def cleanup_socket(loop: Any) -> object:
    seen: list[object] = []
    with directory() as place:
        for wanted in ({}, {"cleanup_socket": True}, {"cleanup_socket": False}):
            server = await loop.create_unix_server(Echo, place / f"s{len(seen)}", **wanted)
            server.close()
            seen.append((place / f"s{len(seen)}").exists())
    return seen


@probe("create_unix_server", "mode", since=(3, 16))
async def mode(loop: Any) -> object:
    with directory() as place:
        server = await loop.create_unix_server(Echo, place / "s", mode=0o600)
        permissions = stat.S_IMODE((place / "s").stat().st_mode)
        server.close()
    return oct(permissions)
