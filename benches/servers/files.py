"""A file for everyone who asks with a byte, through ``loop.sendfile``: the file is the command line's second word."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import BinaryIO, cast

from benches.servers._serve import BACKLOG, main


class Sender(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.task = asyncio.ensure_future(send(self.transport))


def open_file() -> BinaryIO:
    return Path(sys.argv[2]).open("rb")


async def send(transport: asyncio.Transport) -> None:
    try:
        with open_file() as file:
            await asyncio.get_running_loop().sendfile(transport, file)
    except Exception:  # noqa: BLE001 - a loop that cannot do this says so here, and its row shows what it said
        traceback.print_exc()
        os._exit(1)
    transport.close()


async def serve(sock: socket.socket) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(Sender, sock=sock, backlog=BACKLOG)


if __name__ == "__main__":
    main(serve)
