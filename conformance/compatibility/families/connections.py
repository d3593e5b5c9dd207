"""TCP connections."""

from __future__ import annotations

import socket
from typing import Any

from ..probes import probe
from ..support import Echo, Seen, failure, family_of, listening, pair, serving, talk


@probe("create_connection", "protocol_factory", "host", "port")
async def plain(loop: Any) -> object:
    async with serving(loop) as address:
        transport, protocol = await loop.create_connection(Seen, *address)
        names = transport.get_extra_info("peername") == address, family_of(transport.get_extra_info("socket"))
        return names, await talk(transport, protocol)


@probe("create_connection", "family")
async def family(loop: Any) -> object:
    async with serving(loop) as (_, port):
        transport, protocol = await loop.create_connection(Seen, "localhost", port, family=socket.AF_INET)
        answer = family_of(transport.get_extra_info("socket")), await talk(transport, protocol)
        return answer, await failure(loop.create_connection, Seen, "127.0.0.1", port, family=socket.AF_INET6)


@probe("create_connection", "proto")
async def proto(loop: Any) -> object:
    async with serving(loop) as address:
        transport, protocol = await loop.create_connection(Seen, *address, proto=socket.IPPROTO_TCP)
        answer = transport.get_extra_info("socket").proto, await talk(transport, protocol)
        return answer, await failure(loop.create_connection, Seen, "localhost", address[1], proto=socket.IPPROTO_UDP)


@probe("create_connection", "flags")
async def flags(loop: Any) -> object:
    async with serving(loop) as address:
        transport, protocol = await loop.create_connection(Seen, *address, flags=socket.AI_NUMERICHOST)
        answer = await talk(transport, protocol)
        host = ("localhost", address[1])
        return answer, await failure(loop.create_connection, Seen, *host, flags=socket.AI_NUMERICHOST)


@probe("create_connection", "sock")
async def sock(loop: Any) -> object:
    with pair() as (ours, peer):
        transport, protocol = await loop.create_connection(Seen, sock=ours)
        peer.send(b"hello")
        answer = await protocol.read(5)
        transport.close()
        await protocol.lost
        seen = [answer, ours.fileno(), await failure(loop.create_connection, Seen, "127.0.0.1", 1, sock=peer)]
    with socket.socket(type=socket.SOCK_DGRAM) as datagram:
        seen.append(await failure(loop.create_connection, Seen, sock=datagram))
    return seen


@probe("create_connection", "local_addr")
async def local_addr(loop: Any) -> object:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    async with serving(loop) as address:
        transport, protocol = await loop.create_connection(Seen, *address, local_addr=("127.0.0.1", port))
        answer = transport.get_extra_info("sockname") == ("127.0.0.1", port), await talk(transport, protocol)
        return answer, await failure(loop.create_connection, Seen, *address, local_addr=("192.0.2.1", 0))


@probe("create_connection", "happy_eyeballs_delay")
async def happy_eyeballs(loop: Any) -> object:
    """The first address never answers, because its queue is full; the second one is tried meanwhile."""
    with listening(backlog=0) as deaf:
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
            waiting.append(client)
        async with serving(loop) as address:
            replace_resolver(loop, [deaf.getsockname(), address])
            transport, protocol = await loop.create_connection(Seen, "name", 1, happy_eyeballs_delay=0.01)
            answer = transport.get_extra_info("peername") == address, await talk(transport, protocol)
        for client in waiting:
            client.close()
    return answer


@probe("create_connection", "interleave")
async def interleave(loop: Any) -> object:
    """Two addresses of one family and one of another: the other's turn comes second."""
    tried: list[str] = []
    with listening() as refusing:
        closed = refusing.getsockname()[1]
    original = loop.sock_connect

    async def sock_connect(sock: Any, address: Any) -> None:
        tried.append(address[0])
        await original(sock, address)

    loop.sock_connect = sock_connect
    replace_resolver(loop, [("127.0.0.1", closed), ("127.0.0.2", closed), ("::1", closed, 0, 0)])
    try:
        await loop.create_connection(Seen, "name", 1, interleave=1)
    except OSError:
        return tried
    return "connected"


@probe("create_connection", "all_errors", since=(3, 12))
async def all_errors(loop: Any) -> object:
    with listening() as refusing:
        address = refusing.getsockname()
    try:
        await loop.create_connection(Seen, *address, all_errors=True)
    except ExceptionGroup as group:
        return [type(error).__name__ for error in group.exceptions]
    return "connected"


@probe("connect_accepted_socket", "protocol_factory", "sock")
async def accepted(loop: Any) -> object:
    with pair() as (ours, peer):
        transport, protocol = await loop.connect_accepted_socket(Echo, ours)
        await loop.sock_sendall(peer, b"hello")
        answer = await loop.sock_recv(peer, 100)
        transport.close()
        await protocol.lost
    with socket.socket(type=socket.SOCK_DGRAM) as datagram:
        return answer, await failure(loop.connect_accepted_socket, Echo, datagram)


def replace_resolver(loop: Any, addresses: list[Any]) -> None:
    """Let every name have these addresses."""

    async def getaddrinfo(*_args: object, **_keywords: object) -> list[Any]:
        families = {2: socket.AF_INET, 4: socket.AF_INET6}
        return [(families[len(address)], socket.SOCK_STREAM, 6, "", address) for address in addresses]

    loop.getaddrinfo = getaddrinfo
