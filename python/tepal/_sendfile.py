"""``sendfile`` and ``sock_sendfile`` by the kernel: a file goes to a socket without passing through Python.

The methods themselves are `asyncio.BaseEventLoop`'s, with their checks of what is closing or not supported. They ask
the loop for the two ways of sending, by the kernel and through Python where the kernel cannot, by the names that
asyncio gives them: test suites and tools replace these.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import sys
from asyncio import SendfileNotAvailableError, constants
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Protocol

from ._protocols import LoopSurface
from ._transports import SocketTransport
from ._write_gate import WriteGate

_LARGEST = sys.maxsize // 2 + 1
"""The most to ask for in one call: 1 GiB on 32-bit machines, where more would overflow."""


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class _Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


_STREAM = SimpleNamespace(type=socket.SOCK_STREAM)
"""What asyncio's check of the arguments wants to know about a transport's socket, which need not be made for it."""


class SendfileMethods(LoopSurface):
    """The two ways in which ``sendfile`` and ``sock_sendfile`` send."""

    __slots__ = ()

    async def _sendfile_native(self, transp: Any, file: _HasFileno, offset: int, count: int | None) -> int:
        """Send a part of a file through a stream transport, by the kernel, after what was written before.

        While this goes on the transport refuses to write and does not read.

        Args:
            transp: A transport.
            file: A regular file, opened in binary mode.
            offset: Where to begin, in bytes.
            count: How many bytes to send; None sends all that follow.

        Returns:
            The number of bytes sent. The file's position is then as many beyond `offset`, also after an error.

        Raises:
            asyncio.SendfileNotAvailableError: The kernel cannot do it for this file and this transport, and nothing
                has been sent.
            RuntimeError: A file is being sent already.
            ConnectionError: The connection ended, or was closed, before all was sent.
            ValueError: The file is not opened in binary mode, or `offset` or `count` is out of range.
            TypeError: `offset` or `count` is no integer.

        A checkpoint unless the socket takes everything at once.
        """
        if not isinstance(transp, SocketTransport):
            raise SendfileNotAvailableError("sendfile syscall is not supported")
        reading = transp.is_reading()
        transp.pause_reading()
        try:
            self._check_sendfile_params(_STREAM, file, offset, count)
            source, size = _regular_file(file)
            if not count and not size:
                return 0
            done: asyncio.Future[None] = self.create_future()
            transp._start_file(source, offset, count, done)
            try:
                await done
            finally:
                sent = transp._end_file()
                with suppress(OSError):  # What cannot be sought has no position to set.
                    os.lseek(source, offset + sent, os.SEEK_SET)
            return sent
        finally:
            if reading:
                transp.resume_reading()

    async def _sendfile_fallback(self, transp: Any, file: _Readable, offset: int, count: int | None) -> int:
        """Send a part of a file through any transport with flow control, by reading it on a thread.

        While this goes on the transport does not read, and another protocol stands in for the transport's own.

        Args:
            transp: A transport.
            file: Anything with ``readinto``; it is rewound to `offset` if it has ``seek`` too.
            offset: Where to begin, in bytes.
            count: How many bytes to send; None sends all that follow.

        Returns:
            The number of bytes handed to the transport. The file's position is then as many beyond `offset`.

        Raises:
            OSError: The file cannot be read.
            ConnectionError: The connection ended, or was closed, before all was written.
            ValueError: The file is not opened in binary mode, or `offset` or `count` is out of range.
            TypeError: `offset` or `count` is no integer.

        A checkpoint.
        """
        self._check_sendfile_params(_STREAM, file, offset, count)
        gate = WriteGate(self, transp)
        try:

            async def send(part: memoryview) -> None:
                await gate.opened()
                # A copy, for the buffer is filled again before a transport has sent what it was given.
                transp.write(bytes(part))

            return await self._sendfile_by_parts(send, file, offset, count)
        finally:
            gate.leave()

    async def _sock_sendfile_native(self, sock: socket.socket, file: _HasFileno, offset: int, count: int | None) -> int:
        """Send a part of a file with `os.sendfile`.

        Args:
            sock: A connected, non-blocking stream socket.
            file: A regular file, opened in binary mode.
            offset: Where to begin, in bytes.
            count: How many bytes to send; None sends all that follow.

        Returns:
            The number of bytes sent. The file's position is then as many beyond `offset`, also after an error.

        Raises:
            asyncio.SendfileNotAvailableError: The kernel cannot do it for this file and this socket, and nothing
                has been sent.
            OSError: The connection failed when a part had been sent.

        A checkpoint if the file is not empty.
        """
        if not hasattr(os, "sendfile"):
            raise SendfileNotAvailableError("os.sendfile() is not available")
        source, size = _regular_file(file)
        if not count and not size:
            return 0
        sent = 0
        try:
            while count is None or sent < count:
                part = min(size if count is None else count - sent, _LARGEST)
                step = _send_part(sock, source, offset + sent, part, begun=sent > 0)
                if step == 0:
                    break
                sent += step or 0
                if sent != count:
                    # Also when the socket would take more: a long file must leave turns to the others.
                    await _writable(self, sock)
        except SendfileNotAvailableError:
            # Nothing was sent, so there is no position to set, and what cannot be sent can often not be sought.
            raise
        except BaseException:
            os.lseek(source, offset + sent, os.SEEK_SET)
            raise
        os.lseek(source, offset + sent, os.SEEK_SET)
        return sent

    async def _sock_sendfile_fallback(
        self, sock: socket.socket, file: _Readable, offset: int, count: int | None
    ) -> int:
        """Send a part of a file by reading it on a thread and sending what was read.

        Args:
            sock: A connected, non-blocking stream socket.
            file: Anything with ``readinto``; it is rewound to `offset` if it has ``seek`` too.
            offset: Where to begin, in bytes.
            count: How many bytes to send; None sends all that follow.

        Returns:
            The number of bytes sent. The file's position is then as many beyond `offset`.

        Raises:
            OSError: The file cannot be read, or the connection failed.

        A checkpoint.
        """

        async def send(part: memoryview) -> None:
            await self.sock_sendall(sock, part)

        return await self._sendfile_by_parts(send, file, offset, count)

    async def _sendfile_by_parts(
        self, send: Callable[[memoryview], Awaitable[None]], file: _Readable, offset: int, count: int | None
    ) -> int:
        """Read a part of a file, block by block and on a thread, and send what was read."""
        seek = getattr(file, "seek", None)
        if seek is not None:
            seek(offset)
        most = constants.SENDFILE_FALLBACK_READBUFFER_SIZE
        block = memoryview(bytearray(min(count or most, most)))
        sent = 0
        try:
            while count is None or sent < count:
                part = block if count is None else block[: count - sent]
                size = await self.run_in_executor(None, file.readinto, part)
                if not size:
                    break
                await send(part[:size])
                sent += size
        finally:
            if sent and seek is not None:
                seek(offset + sent)
        return sent


def _regular_file(file: _HasFileno) -> tuple[int, int]:
    """Return the descriptor and the size in bytes of a file that has both."""
    try:
        descriptor = file.fileno()
        return descriptor, os.fstat(descriptor).st_size
    except (AttributeError, io.UnsupportedOperation, OSError):
        raise SendfileNotAvailableError("not a regular file") from None


def _send_part(sock: socket.socket, source: int, offset: int, part: int, *, begun: bool) -> int | None:
    """Send as much as the socket takes: the bytes sent, 0 at the end of the file, None when it takes nothing."""
    try:
        return os.sendfile(sock.fileno(), source, offset, part)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        if not begun:
            # Before the first byte another way may work; if none does, it will say what is wrong.
            raise SendfileNotAvailableError("os.sendfile call failed") from error
        if error.errno == errno.ENOTCONN and not isinstance(error, ConnectionError):
            # Kernels differ in what they say of a connection that ended in the middle.
            raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
        raise


async def _writable(loop: LoopSurface, sock: socket.socket) -> None:
    """Wait until a socket takes bytes. Cancelling leaves no registration behind."""
    descriptor = sock.fileno()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _wake, ready)
    try:
        await ready
    finally:
        # When the socket was closed meanwhile its number may belong to somebody else.
        if sock.fileno() == descriptor:
            loop.remove_writer(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
