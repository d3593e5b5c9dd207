"""TCP servers."""

from __future__ import annotations

import socket
import struct
from typing import Any

from ..probes import probe
from ..support import Echo, Seen, failure, family_of, talk


async def ask(loop: Any, address: Any) -> bytes:
    """What a server echoes."""
    transport, protocol = await loop.create_connection(Seen, *address[:2])
    return await talk(transport, protocol)


@probe("create_server", "protocol_factory", "host", "port")
async def plain(loop: Any) -> object:
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    answer = await ask(loop, server.sockets[0].getsockname())
    server.close()
    await server.wait_closed()
    both = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], 0)
    hosts = sorted(sock.getsockname()[0] for sock in both.sockets)
    both.close()
    everywhere = await loop.create_server(Echo, "", 0)
    families = sorted(family_of(sock) for sock in everywhere.sockets)
    everywhere.close()
    return answer, tuple(server.sockets or ()), hosts, families, server.is_serving()


@probe("create_server", "family")
async def family(loop: Any) -> object:
    server = await loop.create_server(Echo, None, 0, family=socket.AF_INET)
    families = [family_of(sock) for sock in server.sockets]
    server.close()
    return families, await failure(loop.create_server, Echo, "127.0.0.1", 0, family=socket.AF_INET6)


@probe("create_server", "flags")
async def flags(loop: Any) -> object:
    server = await loop.create_server(Echo, None, 0, flags=0, family=socket.AF_INET)
    hosts = [sock.getsockname()[0] for sock in server.sockets]
    server.close()
    return hosts, await failure(loop.create_server, Echo, "localhost", 0, flags=socket.AI_NUMERICHOST)


@probe("create_server", "sock")
async def sock(loop: Any) -> object:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = bound.getsockname()
        server = await loop.create_server(Echo, sock=bound)
        answer = await ask(loop, address)
        server.close()
        seen = [answer, bound.fileno(), await failure(loop.create_server, Echo, "127.0.0.1", 0, sock=bound)]
    with socket.socket(type=socket.SOCK_DGRAM) as datagram:
        seen.append(await failure(loop.create_server, Echo, sock=datagram))
    seen.append(await failure(loop.create_server, Echo))
    return seen


@probe("create_server", "backlog")
async def backlog(loop: Any) -> object:
    """As the kernel keeps it: for a listening socket TCP_INFO has it where others have `tcpi_sacked`."""
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=7)
    info = server.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    answer = struct.unpack_from("=I", info, 28), await ask(loop, server.sockets[0].getsockname())
    server.close()
    return answer


@probe("create_server", "reuse_address")
async def reuse_address(loop: Any) -> object:
    seen = []
    for wanted in (True, False, None):
        server = await loop.create_server(Echo, "127.0.0.1", 0, reuse_address=wanted)
        seen.append(bool(server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)))
        server.close()
    return seen


@probe("create_server", "reuse_port")
async def reuse_port(loop: Any) -> object:
    first = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=True)
    address = first.sockets[0].getsockname()
    second = await loop.create_server(Echo, *address, reuse_port=True)
    answers = [await ask(loop, address) for _ in range(4)]
    refused = await failure(loop.create_server, Echo, *address)
    first.close()
    second.close()
    return answers, refused


@probe("create_server", "keep_alive", since=(3, 13))
async def keep_alive(loop: Any) -> object:
    made: list[Echo] = []

    def factory() -> Echo:
        made.append(Echo())
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0, keep_alive=True)
    transport, protocol = await loop.create_connection(Seen, *server.sockets[0].getsockname())
    transport.write(b"hello")
    await protocol.read(5)
    kept = made[0].transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    transport.close()
    server.close()
    return bool(kept)


@probe("create_server", "start_serving")
async def start_serving(loop: Any) -> object:
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    address = server.sockets[0].getsockname()
    seen = [server.is_serving(), await failure(loop.create_connection, Seen, *address)]
    await server.start_serving()
    seen += [server.is_serving(), str(await ask(loop, address))]
    server.close()
    return seen
