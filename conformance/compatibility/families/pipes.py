"""Pipes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ..probes import probe
from ..support import Seen, failure, regular_file


class Finite(Seen):
    """A protocol that may be told of an end."""

    def eof_received(self) -> None:
        self.data += b"(end)"


@probe("connect_read_pipe", "protocol_factory", "pipe")
async def read(loop: Any) -> object:
    reading, writing = os.pipe()
    transport, protocol = await loop.connect_read_pipe(Finite, os.fdopen(reading, "rb", 0))
    os.write(writing, b"hello")
    await protocol.read(5)
    os.close(writing)
    return await protocol.lost, protocol.data, isinstance(transport, asyncio.ReadTransport)


@probe("connect_read_pipe", "pipe", case="a regular file")
async def read_file(loop: Any) -> object:
    with regular_file() as file:
        return await failure(loop.connect_read_pipe, Finite, file)


@probe("connect_write_pipe", "protocol_factory", "pipe")
async def write(loop: Any) -> object:
    reading, writing = os.pipe()
    transport, protocol = await loop.connect_write_pipe(Seen, os.fdopen(writing, "wb", 0))
    transport.write(b"hel")
    transport.write(b"lo")
    transport.close()
    lost = await protocol.lost
    with os.fdopen(reading, "rb") as other_end:
        return other_end.read(), lost, isinstance(transport, asyncio.WriteTransport)


@probe("connect_write_pipe", "pipe", case="a regular file")
async def write_file(loop: Any) -> object:
    with regular_file() as file:
        return await failure(loop.connect_write_pipe, Seen, file)
