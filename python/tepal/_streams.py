"""asyncio's streams, native: `StreamReader`, `StreamWriter`, and the functions that make them.

Each class derives from its native half first (`_tepal`), which does the work, and from asyncio's class of the same name, so that
`isinstance` holds and what is not hot is inherited. The rules are asyncio's, those of Python 3.15 on every Python.

Over a transport of tepal's bytes go from the kernel into the reader's buffer, and whoever waits there is woken, without a call into
Python. Readers wait on tepal's event loops only; any transport may feed them.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from . import _tepal

_LIMIT = 2**16
"""asyncio's own default, in bytes."""


class StreamReader(_tepal.StreamReader, asyncio.StreamReader):
    """Bytes from a peer (see `asyncio.StreamReader`).

    `read`, `readline`, `readuntil` and `readexactly` return at once, without letting others run, when what they want is there;
    else they are checkpoints. One task at a time may wait.
    """

    def __init__(self, limit: int = _LIMIT, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Make a reader without bytes.

        Args:
            limit: The longest line, in bytes; at twice as much the transport is paused.
            loop: Whose tasks will read; the current one if not given.

        Raises:
            ValueError: The limit is not above 0.
        """
        if limit <= 0:
            raise ValueError("Limit cannot be <= 0")
        self._limit = limit
        self._loop = asyncio.get_event_loop() if loop is None else loop
        if self._loop.get_debug():
            self._source_traceback = traceback.extract_stack(sys._getframe(1))

    def _replace_transport(self, transport: asyncio.Transport) -> None:
        """TLS has come in between (`StreamWriter.start_tls`)."""
        self._transport = transport


class StreamReaderProtocol(_tepal.StreamReaderProtocol, asyncio.StreamReaderProtocol):
    """What stands between a transport and a `StreamReader` (see `asyncio.StreamReaderProtocol`)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the reader and the transport, and let the server's callback begin."""
        if self._reject_connection:
            super().connection_made(transport)
            return
        self._transport = transport
        reader = self._stream_reader
        if reader is not None:
            reader.set_transport(transport)
        self._over_ssl = transport.get_extra_info("sslcontext") is not None
        if self._client_connected_cb is not None:
            self._serve(transport, reader)

    def _serve(self, transport: Any, reader: Any) -> None:
        try:
            result = self._client_connected_cb(reader, StreamWriter(transport, self, reader, self._loop))
        except Exception as error:  # noqa: BLE001 - told to the loop's exception handler
            self._end_by(transport, error)
        else:
            if asyncio.iscoroutine(result):
                self._task = self._loop.create_task(result)
                self._task.add_done_callback(functools.partial(self._handle_served, transport))
        self._strong_reader = None

    def _handle_served(self, transport: asyncio.Transport, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            transport.close()
        elif (error := task.exception()) is not None:
            self._end_by(transport, error)

    def _end_by(self, transport: asyncio.Transport, error: BaseException) -> None:
        """The server's callback raised: that is told, and the connection closed."""
        message = "Unhandled exception in client_connected_cb"
        self._loop.call_exception_handler({"message": message, "exception": error, "transport": transport})
        transport.close()

    def _replace_transport(self, transport: asyncio.Transport) -> None:
        """TLS has come in between: the reader, too, pauses and resumes what is now above."""
        self._transport = transport
        self._over_ssl = transport.get_extra_info("sslcontext") is not None
        reader = self._stream_reader
        if reader is not None:
            reader._transport = transport


class StreamWriter(_tepal.StreamWriter, asyncio.StreamWriter):
    """Bytes to a peer (see `asyncio.StreamWriter`).

    `write` and `writelines` are no checkpoints. `drain` returns at once, without letting others run, unless the transport has too
    much to send already or is closing; then it is a checkpoint.
    """

    _asyncios = asyncio.StreamWriter
    """Whose `drain` serves protocols of other kinds."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        reader: asyncio.StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Make a writer over a transport.

        Args:
            transport: Where bytes go.
            protocol: The transport's protocol, which knows whether writing is paused.
            reader: The other direction, whose exception `drain` raises; or None.
            loop: Whose tasks will write.
        """
        assert reader is None or isinstance(reader, StreamReader | _AsyncioReader)
        self._transport = transport
        self._protocol = protocol
        self._reader = reader
        self._loop = loop


_AsyncioReader = asyncio.StreamReader


async def open_connection(
    host: str | None = None, port: int | str | None = None, *, limit: int = _LIMIT, **more: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect, as `asyncio.open_connection`.

    Args:
        host: A name or an address.
        port: A number, or a service's name.
        limit: The reader's, in bytes.
        more: What `loop.create_connection` takes: `ssl`, `sock`, `happy_eyeballs_delay`, …

    Returns:
        A reader and a writer.

    Raises:
        OSError: No connection could be made.

    A checkpoint.
    """
    loop: Any = asyncio.get_running_loop()
    reader = StreamReader(limit, loop)
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **more)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def open_unix_connection(
    path: str | bytes | None = None, *, limit: int = _LIMIT, **more: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect to a Unix socket, as `asyncio.open_unix_connection`.

    Args:
        path: The socket's path.
        limit: The reader's, in bytes.
        more: What `loop.create_unix_connection` takes.

    Returns:
        A reader and a writer.

    Raises:
        OSError: No connection could be made.

    A checkpoint.
    """
    loop: Any = asyncio.get_running_loop()
    reader = StreamReader(limit, loop)
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **more)
    return reader, StreamWriter(transport, protocol, reader, loop)


_Connected = Callable[[StreamReader, StreamWriter], Awaitable[None] | None]


async def start_server(
    client_connected_cb: _Connected,
    host: Any = None,
    port: int | str | None = None,
    *,
    limit: int = _LIMIT,
    **more: Any,
) -> asyncio.Server:
    """Serve connections, as `asyncio.start_server`.

    Args:
        client_connected_cb: Called with a reader and a writer for each connection; a coroutine function's runs in a task.
        host: One or several names or addresses to listen at; None for all.
        port: A number, or a service's name.
        limit: The readers', in bytes.
        more: What `loop.create_server` takes.

    Returns:
        The server.

    Raises:
        OSError: An address cannot be listened at.

    A checkpoint.
    """
    loop: Any = asyncio.get_running_loop()
    server: asyncio.Server = await loop.create_server(_factory(client_connected_cb, limit, loop), host, port, **more)
    return server


async def start_unix_server(
    client_connected_cb: _Connected, path: str | bytes | None = None, *, limit: int = _LIMIT, **more: Any
) -> asyncio.Server:
    """Serve connections to a Unix socket, as `asyncio.start_unix_server`.

    Args:
        client_connected_cb: As `start_server` has it.
        path: The socket's path.
        limit: The readers', in bytes.
        more: What `loop.create_unix_server` takes.

    Returns:
        The server.

    Raises:
        OSError: The path cannot be listened at.

    A checkpoint.
    """
    loop: Any = asyncio.get_running_loop()
    server: asyncio.Server = await loop.create_unix_server(_factory(client_connected_cb, limit, loop), path, **more)
    return server


def _factory(connected: Any, limit: int, loop: asyncio.AbstractEventLoop) -> Callable[[], StreamReaderProtocol]:
    def make() -> StreamReaderProtocol:
        return StreamReaderProtocol(StreamReader(limit, loop), connected, loop)

    return make
