"""Echo through ``asyncio.Protocol``, with TLS when a certificate is given."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from benches.servers._serve import BACKLOG, encryption, main


class Echo(asyncio.Protocol):
    __slots__ = ("transport",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve(sock: socket.socket) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(Echo, sock=sock, backlog=BACKLOG, ssl=encryption())


if __name__ == "__main__":
    main(serve)
