"""Files to sockets."""

from __future__ import annotations

import io
from typing import Any

from ..probes import probe
from ..support import Echo, Seen, failure, pair, regular_file, serving


async def received(loop: Any, peer: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await loop.sock_recv(peer, 1 << 16)
    return data


async def through_transport(loop: Any, file: Any, *args: Any, **keywords: Any) -> object:
    """Send a file through a transport to an echo: how much, whether it was right, and where the file stands."""
    whole = file.getvalue() if isinstance(file, io.BytesIO) else file.read()
    file.seek(0)
    async with serving(loop) as address:
        transport, protocol = await loop.create_connection(Seen, *address)
        transport.write(b"before")
        sent = await loop.sendfile(transport, file, *args, **keywords)
        transport.write(b"after")
        data = await protocol.read(6 + sent + 5)
        transport.close()
        await protocol.lost
    offset = args[0] if args else 0
    return sent, data == b"before" + whole[offset : offset + sent] + b"after", file.tell()


@probe("sendfile", "transport", "file")
async def whole(loop: Any) -> object:
    with regular_file() as file:
        return await through_transport(loop, file)


@probe("sendfile", "offset")
@probe("sendfile", "count")
async def part(loop: Any) -> object:
    with regular_file() as file:
        seen = [await through_transport(loop, file, 1000, 50_000)]
    with pair() as (ours, _), regular_file() as file:
        transport, _ = await loop.create_connection(Echo, sock=ours)
        for wrong in ((-1, None), ("0", None), (0, 0), (0, -1), (0, "1")):
            seen.append(await failure(loop.sendfile, transport, file, *wrong))
        transport.close()
        seen.append(await failure(loop.sendfile, transport, file))
    return seen


@probe("sendfile", "fallback")
async def fallback(loop: Any) -> object:
    file = io.BytesIO(bytes(100_000))
    with pair() as (ours, _):
        transport, _ = await loop.create_connection(Echo, sock=ours)
        refused = await failure(loop.sendfile, transport, file, fallback=False)
        transport.close()
    return await through_transport(loop, file), refused


@probe("sock_sendfile", "sock", "file")
async def sock_whole(loop: Any) -> object:
    with pair() as (ours, peer), regular_file() as file:
        reading = loop.create_task(received(loop, peer, 256_000))
        return await loop.sock_sendfile(ours, file), len(await reading), file.tell()


@probe("sock_sendfile", "offset")
@probe("sock_sendfile", "count")
async def sock_part(loop: Any) -> object:
    with pair() as (ours, peer), regular_file() as file:
        right = file.read()[1000:1500]
        sent = await loop.sock_sendfile(ours, file, 1000, 500), await received(loop, peer, 500) == right, file.tell()
        wrong = [await failure(loop.sock_sendfile, ours, file, 0, count) for count in (0, -1, "1")]
    return sent, wrong


@probe("sock_sendfile", "fallback")
async def sock_fallback(loop: Any) -> object:
    file = io.BytesIO(bytes(10_000))
    with pair() as (ours, peer):
        refused = await failure(loop.sock_sendfile, ours, file, fallback=False)
        return refused, await loop.sock_sendfile(ours, file), len(await received(loop, peer, 10_000))
