"""Datagrams."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from ..probes import probe
from ..support import failure, family_of


class Post(asyncio.DatagramProtocol):
    """Remembers what came."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.letters: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.letters.put_nowait((data, addr))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


async def to_and_fro(loop: Any, **options: Any) -> object:
    """Open one that is told its address and one that is connected to it, and send both ways."""
    here, mine = await loop.create_datagram_endpoint(Post, ("127.0.0.1", 0), **options)
    there, theirs = await loop.create_datagram_endpoint(Post, remote_addr=here.get_extra_info("sockname"))
    there.sendto(b"to")
    data, sender = await mine.letters.get()
    here.sendto(b"fro", sender)
    seen = [data, sender == there.get_extra_info("sockname"), (await theirs.letters.get())[0]]
    for transport, protocol in ((here, mine), (there, theirs)):
        transport.close()
        seen.append(await protocol.lost)
    return seen


@probe("create_datagram_endpoint", "protocol_factory", "local_addr", "remote_addr")
async def plain(loop: Any) -> object:
    return await to_and_fro(loop)


@probe("create_datagram_endpoint", "family")
async def family(loop: Any) -> object:
    transport, protocol = await loop.create_datagram_endpoint(Post, family=socket.AF_INET6)
    name = family_of(transport.get_extra_info("socket"))
    transport.close()
    await protocol.lost
    refused = await failure(loop.create_datagram_endpoint, Post, ("127.0.0.1", 0), family=socket.AF_INET6)
    return name, await to_and_fro(loop, family=socket.AF_INET), refused


@probe("create_datagram_endpoint", "proto")
async def proto(loop: Any) -> object:
    refused = await failure(loop.create_datagram_endpoint, Post, ("localhost", 0), proto=socket.IPPROTO_TCP)
    return await to_and_fro(loop, proto=socket.IPPROTO_UDP), refused


@probe("create_datagram_endpoint", "flags")
async def flags(loop: Any) -> object:
    refused = await failure(loop.create_datagram_endpoint, Post, ("localhost", 0), flags=socket.AI_NUMERICHOST)
    return await to_and_fro(loop, flags=socket.AI_PASSIVE), refused


@probe("create_datagram_endpoint", "reuse_address")
async def reuse_address(loop: Any) -> object:
    """It was taken away in Python 3.11, because it let strangers in."""
    return await failure(loop.create_datagram_endpoint, Post, ("127.0.0.1", 0), reuse_address=True)


@probe("create_datagram_endpoint", "reuse_port")
async def reuse_port(loop: Any) -> object:
    first, one = await loop.create_datagram_endpoint(Post, ("127.0.0.1", 0), reuse_port=True)
    address = first.get_extra_info("sockname")
    second, two = await loop.create_datagram_endpoint(Post, address, reuse_port=True)
    refused = await failure(loop.create_datagram_endpoint, Post, address)
    same = second.get_extra_info("sockname") == address
    for transport, protocol in ((first, one), (second, two)):
        transport.close()
        await protocol.lost
    return same, refused


@probe("create_datagram_endpoint", "allow_broadcast")
async def allow_broadcast(loop: Any) -> object:
    seen = []
    for wanted in (True, None):
        transport, protocol = await loop.create_datagram_endpoint(Post, ("127.0.0.1", 0), allow_broadcast=wanted)
        seen.append(bool(transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)))
        transport.close()
        await protocol.lost
    return seen


@probe("create_datagram_endpoint", "sock")
async def sock(loop: Any) -> object:
    ours, peer = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    with ours, peer:
        peer.bind(("127.0.0.1", 0))
        ours.connect(peer.getsockname())
        peer.connect(ours.getsockname())
        transport, protocol = await loop.create_datagram_endpoint(Post, sock=ours)
        peer.send(b"to")
        seen: list[object] = [(await protocol.letters.get())[0]]
        transport.sendto(b"fro")
        peer.setblocking(False)
        seen.append(await loop.sock_recv(peer, 10))
        transport.close()
        await protocol.lost
        seen.append(await failure(loop.create_datagram_endpoint, Post, ("127.0.0.1", 0), sock=peer))
    with socket.socket() as stream:
        seen.append(await failure(loop.create_datagram_endpoint, Post, sock=stream))
    return [*seen, await failure(loop.create_datagram_endpoint, Post)]
