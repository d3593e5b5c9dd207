"""``sock_sendfile`` by the kernel: a file goes to a socket without passing through Python.

The checks, and the way that reads and sends where the kernel cannot, are `asyncio.BaseEventLoop`'s, which asks
the loop for one thing only: `_sock_sendfile_native`.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import sys
from asyncio import SendfileNotAvailableError
from typing import Protocol

from ._protocols import LoopSurface

_LARGEST = sys.maxsize // 2 + 1
"""The most to ask for in one call: 1 GiB on 32-bit machines, where more would overflow."""


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class SendfileMethods(LoopSurface):
    """The native half of ``sock_sendfile``."""

    __slots__ = ()

    async def _sock_sendfile_native(self, sock: socket.socket, file: _HasFileno, offset: int, count: int | None) -> int:
        """Send a part of a file with `os.sendfile`.

        Args:
            sock: A connected, non-blocking stream socket.
            file: A regular file, opened in binary mode.
            offset: Where to begin, in bytes.
            count: How many bytes to send; None sends all that follow.

        Returns:
            The number of bytes sent. The file's position is moved by as many beyond `offset`.

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
        finally:
            if sent:
                os.lseek(source, offset + sent, os.SEEK_SET)
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
