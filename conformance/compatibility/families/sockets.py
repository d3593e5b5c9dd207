"""Sockets by hand."""

from __future__ import annotations

import socket
from typing import Any

from ..probes import probe
from ..support import listening, pair


@probe("sock_recv", "sock", "nbytes")
async def recv(loop: Any) -> object:
    with pair() as (ours, peer):
        loop.call_later(0.001, peer.send, b"hello")
        seen = [await loop.sock_recv(ours, 3), await loop.sock_recv(ours, 100)]
        loop.call_later(0.001, peer.shutdown, socket.SHUT_WR)
        return [*seen, await loop.sock_recv(ours, 100)]


@probe("sock_recv_into", "sock", "buf")
async def recv_into(loop: Any) -> object:
    with pair() as (ours, peer):
        room = bytearray(10)
        loop.call_later(0.001, peer.send, b"hello")
        return await loop.sock_recv_into(ours, memoryview(room)[2:5]), bytes(room)


@probe("sock_sendall", "sock", "data")
async def sendall(loop: Any) -> object:
    with pair() as (ours, peer):
        sending = loop.create_task(loop.sock_sendall(ours, memoryview(bytes(8_000_000))))
        count = 0
        while count < 8_000_000:
            count += len(await loop.sock_recv(peer, 1 << 20))
        return count, await sending


@probe("sock_connect", "sock", "address")
async def connect(loop: Any) -> object:
    seen: list[object] = []
    with listening() as listener:
        address = listener.getsockname()
        with socket.socket() as ours:
            ours.setblocking(False)
            seen.append(await loop.sock_connect(ours, address))
            seen.append(ours.getpeername() == address)
    with socket.socket() as ours:
        ours.setblocking(False)
        try:
            await loop.sock_connect(ours, address)
        except OSError as error:
            seen.append((type(error).__name__, str(address[1]) in str(error)))
    return seen


@probe("sock_accept", "sock")
async def accept(loop: Any) -> object:
    with listening() as listener, socket.socket() as client:
        client.setblocking(False)
        loop.call_later(0.001, client.connect_ex, listener.getsockname())
        taken, address = await loop.sock_accept(listener)
        with taken:
            return taken.gettimeout(), taken.get_inheritable(), address == client.getsockname()


def datagrams() -> tuple[socket.socket, socket.socket]:
    ours, peer = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    for each in (ours, peer):
        each.bind(("127.0.0.1", 0))
        each.setblocking(False)
    return ours, peer


@probe("sock_recvfrom", "sock", "bufsize")
async def recvfrom(loop: Any) -> object:
    ours, peer = datagrams()
    with ours, peer:
        loop.call_later(0.001, peer.sendto, b"hello", ours.getsockname())
        data, address = await loop.sock_recvfrom(ours, 3)
        return data, address == peer.getsockname()


@probe("sock_recvfrom_into", "sock", "buf")
@probe("sock_recvfrom_into", "nbytes")
async def recvfrom_into(loop: Any) -> object:
    ours, peer = datagrams()
    seen: list[object] = []
    with ours, peer:
        for limit in (0, 2):
            room = bytearray(10)
            loop.call_later(0.001, peer.sendto, b"hello", ours.getsockname())
            count, address = await loop.sock_recvfrom_into(ours, room, limit)
            seen.append((count, bytes(room), address == peer.getsockname()))
    return seen


@probe("sock_sendto", "sock", "data", "address")
async def sendto(loop: Any) -> object:
    ours, peer = datagrams()
    with ours, peer:
        sent = await loop.sock_sendto(ours, b"hello", peer.getsockname())
        return sent, (await loop.sock_recvfrom(peer, 100))[0]
