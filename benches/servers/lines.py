"""Echo line by line: ``readline`` of StreamReader."""

from __future__ import annotations

import asyncio
import socket

from benches.servers._serve import BACKLOG, main

#: The longest line of the rows is a mebibyte; the default limit is far below.
LIMIT = 2 * 1024 * 1024


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve(sock: socket.socket) -> asyncio.Server:
    return await asyncio.start_server(echo, sock=sock, backlog=BACKLOG, limit=LIMIT)


if __name__ == "__main__":
    main(serve)
