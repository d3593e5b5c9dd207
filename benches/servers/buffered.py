"""Echo through ``asyncio.BufferedProtocol``, one buffer per connection."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from benches.servers._serve import BACKLOG, main

BUFFER_SIZE = 64 * 1024


class Echo(asyncio.BufferedProtocol):
    __slots__ = ("transport", "view")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.view = memoryview(bytearray(BUFFER_SIZE))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        # A copy, because the buffer is filled again while a loop may still be holding what could not be sent at once.
        self.transport.write(bytes(self.view[:nbytes]))


async def serve(sock: socket.socket) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(Echo, sock=sock, backlog=BACKLOG)


if __name__ == "__main__":
    main(serve)
