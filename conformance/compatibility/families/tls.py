"""TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from ..probes import probe
from ..support import (
    Echo,
    Seen,
    client_context,
    directory,
    failure,
    listening,
    mute_tls_server,
    pair,
    server_context,
    serving,
    talk,
)


def facts(transport: Any) -> object:
    """What a program asks an encrypted connection."""
    certificate = transport.get_extra_info("peercert") or {}
    engine = transport.get_extra_info("ssl_object")
    return (
        certificate.get("subject"),
        engine is not None and engine.version(),
        transport.get_extra_info("cipher") is not None,
        transport.get_extra_info("compression"),
        isinstance(transport.get_extra_info("sslcontext"), ssl.SSLContext),
    )


@probe("create_connection", "ssl")
@probe("create_connection", "server_hostname")
@probe("create_server", "ssl")
async def tcp(loop: Any) -> object:
    async with serving(loop, ssl=server_context()) as address:
        secure = {"ssl": client_context(), "server_hostname": "localhost"}
        transport, protocol = await loop.create_connection(Seen, *address, **secure)
        seen = [facts(transport), len(await talk(transport, protocol, b"x" * 100_000))]
        secure["server_hostname"] = "other.name"
        seen.append(await failure(loop.create_connection, Seen, *address, **secure))
        seen.append(await failure(loop.create_connection, Seen, *address, server_hostname="localhost"))
        seen.append(await failure(loop.create_connection, Seen, *address, ssl=True, server_hostname="localhost"))
    return seen


@probe("create_unix_connection", "ssl")
@probe("create_unix_connection", "server_hostname")
@probe("create_unix_server", "ssl")
async def unix(loop: Any) -> object:
    with directory() as place:
        server = await loop.create_unix_server(Echo, place / "s", ssl=server_context())
        secure = {"ssl": client_context(), "server_hostname": "localhost"}
        transport, protocol = await loop.create_unix_connection(Seen, place / "s", **secure)
        seen = [facts(transport), await talk(transport, protocol)]
        seen.append(await failure(loop.create_unix_connection, Seen, place / "s", ssl=client_context()))
        server.close()
    return seen


@probe("connect_accepted_socket", "ssl")
async def accepted(loop: Any) -> object:
    with pair() as (ours, peer):
        made: list[Seen] = []
        serve = loop.connect_accepted_socket(remembering(made, Echo), ours, ssl=server_context())
        secure = {"ssl": client_context(), "server_hostname": "localhost"}
        served, (transport, protocol) = await asyncio.gather(serve, loop.create_connection(Seen, sock=peer, **secure))
        answer = await talk(transport, protocol)
        await made[0].lost
    return answer, served[1] is made[0]


@probe("start_tls", "transport", "protocol", "sslcontext")
@probe("start_tls", "server_side")
@probe("start_tls", "server_hostname")
async def start(loop: Any) -> object:
    with pair() as (ours, peer):
        plain, upgraded = await loop.connect_accepted_socket(Echo, ours)
        transport, protocol = await loop.create_connection(Seen, sock=peer)
        upgraded.transport, secure = await asyncio.gather(
            loop.start_tls(plain, upgraded, server_context(), server_side=True),
            loop.start_tls(transport, protocol, client_context(), server_hostname="localhost"),
        )
        return facts(secure), await talk(secure, protocol)


HANDSHAKE: dict[str, Any] = {"ssl_handshake_timeout": 0.05}


@probe("create_connection", "ssl_handshake_timeout")
async def connection_handshake(loop: Any) -> object:
    with listening() as mute:
        secure = {"ssl": client_context(), "server_hostname": "localhost", **HANDSHAKE}
        seen = [await failure(loop.create_connection, Seen, *mute.getsockname(), **secure)]
        seen.append(await failure(loop.create_connection, Seen, *mute.getsockname(), **HANDSHAKE))
    return seen


@probe("create_unix_connection", "ssl_handshake_timeout")
async def unix_handshake(loop: Any) -> object:
    with directory() as place:
        mute = socket.socket(socket.AF_UNIX)
        mute.bind(str(place / "s"))
        mute.listen()
        secure = {"ssl": client_context(), "server_hostname": "localhost", **HANDSHAKE}
        answer = await failure(loop.create_unix_connection, Seen, place / "s", **secure)
        mute.close()
    return answer


@probe("connect_accepted_socket", "ssl_handshake_timeout")
async def accepted_handshake(loop: Any) -> object:
    with pair() as (ours, _peer):
        return await failure(loop.connect_accepted_socket, Echo, ours, ssl=server_context(), **HANDSHAKE)


@probe("start_tls", "ssl_handshake_timeout")
async def start_handshake(loop: Any) -> object:
    with pair() as (ours, _peer):
        transport, protocol = await loop.connect_accepted_socket(Seen, ours)
        secure = {"server_hostname": "localhost", **HANDSHAKE}
        return await failure(loop.start_tls, transport, protocol, client_context(), **secure)


@probe("create_server", "ssl_handshake_timeout")
async def server_handshake(loop: Any) -> object:
    """A client that says nothing is left alone after that time."""
    async with serving(loop, ssl=server_context(), **HANDSHAKE) as address:
        reader, writer = await asyncio.open_connection(*address)
        answer = await end_of(reader)
        writer.close()
    return answer


@probe("create_unix_server", "ssl_handshake_timeout")
async def unix_server_handshake(loop: Any) -> object:
    with directory() as place:
        server = await loop.create_unix_server(Echo, place / "s", ssl=server_context(), **HANDSHAKE)
        reader, writer = await asyncio.open_unix_connection(place / "s")
        answer = await end_of(reader)
        writer.close()
        server.close()
    return answer


async def end_of(reader: asyncio.StreamReader) -> str:
    try:
        return f"{len(await reader.read())} bytes and the end"
    except ConnectionError:
        return "0 bytes and the end"


SHUTDOWN: dict[str, Any] = {"ssl_shutdown_timeout": 0.05}


async def ended(transport: Any, protocol: Seen) -> str:
    """Close an encrypted connection whose peer does not answer; without the short time-out that takes half a minute."""
    transport.close()
    await protocol.lost
    return "ended"


@probe("create_connection", "ssl_shutdown_timeout")
async def connection_shutdown(loop: Any) -> object:
    with mute_tls_server() as address:
        secure = {"ssl": client_context(), "server_hostname": "localhost", **SHUTDOWN}
        seen = [await ended(*await loop.create_connection(Seen, *address, **secure))]
    seen.append(await failure(loop.create_connection, Seen, *address, **SHUTDOWN))
    return seen


@probe("start_tls", "ssl_shutdown_timeout")
async def start_shutdown(loop: Any) -> object:
    with mute_tls_server() as address:
        transport, protocol = await loop.create_connection(Seen, *address)
        secure = {"server_hostname": "localhost", **SHUTDOWN}
        return await ended(await loop.start_tls(transport, protocol, client_context(), **secure), protocol)


async def shake_hands(opening: Any) -> asyncio.StreamWriter:
    """Be a TLS client that shakes hands by hand and then answers nothing."""
    reader, writer = await opening
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            engine.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
    writer.write(outgoing.read())
    await writer.drain()
    made: asyncio.StreamWriter = writer
    return made


def remembering(made: list[Seen], kind: type[Seen] = Seen) -> Any:
    def factory() -> Seen:
        made.append(kind())
        return made[-1]

    return factory


@probe("create_server", "ssl_shutdown_timeout")
async def server_shutdown(loop: Any) -> object:
    made: list[Seen] = []
    async with serving(loop, remembering(made), ssl=server_context(), **SHUTDOWN) as address:
        writer = await shake_hands(asyncio.open_connection(*address))
        await first(made)
        answer = await ended(made[0].transport, made[0])
        writer.close()
    return answer


@probe("create_unix_server", "ssl_shutdown_timeout")
async def unix_server_shutdown(loop: Any) -> object:
    made: list[Seen] = []
    with directory() as place:
        server = await loop.create_unix_server(remembering(made), place / "s", ssl=server_context(), **SHUTDOWN)
        writer = await shake_hands(asyncio.open_unix_connection(place / "s"))
        await first(made)
        answer = await ended(made[0].transport, made[0])
        writer.close()
        server.close()
    return answer


@probe("connect_accepted_socket", "ssl_shutdown_timeout")
async def accepted_shutdown(loop: Any) -> object:
    with pair() as (ours, peer):
        made: list[Seen] = []
        serve = loop.connect_accepted_socket(remembering(made), ours, ssl=server_context(), **SHUTDOWN)
        _, writer = await asyncio.gather(serve, shake_hands(asyncio.open_connection(sock=peer)))
        answer = await ended(made[0].transport, made[0])
        writer.close()
    return answer


async def first(made: list[Seen]) -> None:
    """Wait until the server has a connection."""
    while not made:  # noqa: ASYNC110  # nobody is there yet who could tell
        await asyncio.sleep(0.001)
    await made[0].connected


@probe("create_unix_connection", "ssl_shutdown_timeout")
async def unix_shutdown(loop: Any) -> object:
    with directory() as place:
        secure = {"ssl": client_context(), "server_hostname": "localhost", **SHUTDOWN}
        made: list[Seen] = []
        server = await loop.create_unix_server(remembering(made), place / "s", ssl=server_context())
        transport, protocol = await loop.create_unix_connection(Seen, place / "s", **secure)
        await first(made)
        made[0].transport.pause_reading()
        answer = await ended(transport, protocol)
        made[0].transport.abort()
        server.close()
    return answer
