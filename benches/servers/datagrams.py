"""Echo of datagrams through ``asyncio.DatagramProtocol``: one socket for all who ask."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from benches.servers._serve import bind_datagrams, main


class Echo(asyncio.DatagramProtocol):
    __slots__ = ("transport",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.transport.sendto(data, addr)


async def serve(sock: socket.socket) -> object:
    return await asyncio.get_running_loop().create_datagram_endpoint(Echo, sock=sock)


if __name__ == "__main__":
    main(serve, bind_datagrams)
