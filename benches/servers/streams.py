"""Echo through StreamReader and StreamWriter, with TLS when a certificate is given."""

from __future__ import annotations

import asyncio
import socket

from benches.servers._serve import BACKLOG, encryption, main

CHUNK = 256 * 1024


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(sock: socket.socket) -> asyncio.Server:
    return await asyncio.start_server(echo, sock=sock, backlog=BACKLOG, ssl=encryption())


if __name__ == "__main__":
    main(serve)
