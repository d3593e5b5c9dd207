"""The ``sock_*`` methods: asyncio's low-level socket operations.

All have one shape: try, and when the kernel has nothing to give yet, wait for readiness and try again. The bytes are
taken in the caller's own step and never before, so a cancelled call has lost nothing.

Sockets of the standard library's own class are read and written natively, by descriptor; subclasses through their
methods, because they may have their own idea of ``recv``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeVar

from ._protocols import LoopSurface
from ._tepal import Loop as _Native

try:
    from ssl import SSLSocket as _SSLSocket
except ImportError:  # An interpreter built without OpenSSL has none to refuse.
    _SSLSocket = None  # type: ignore[assignment,misc]

_T = TypeVar("_T")

_receive = _Native._receive
_receive_into = _Native._receive_into
_send = _Native._send


class SocketMethods(LoopSurface):
    """``sock_recv``, ``sock_sendall`` and the others. Each is a checkpoint only when it has to wait."""

    __slots__ = ()

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to `n` bytes.

        Args:
            sock: A non-blocking socket.
            n: How many bytes at most.

        Returns:
            The bytes; none at the end of the stream.

        Raises:
            OSError: What recv(2) gives.
            ValueError: In debug mode, for a blocking socket.
        """
        self._check_sock(sock)
        if type(sock) is not socket.socket:
            return await self._when_readable(sock, lambda: sock.recv(n))
        fd = sock.fileno()
        while (data := _receive(fd, n)) is None:
            future = self._wait_readable(fd)
            try:
                await future
            except BaseException:
                self._forget_wait(fd, future)
                raise
        return data

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into a writable buffer.

        Args:
            sock: A non-blocking socket.
            buf: The buffer; its length is how many bytes come at most.

        Returns:
            How many bytes came; 0 at the end of the stream.

        Raises:
            OSError: What recv(2) gives.
            ValueError: In debug mode, for a blocking socket.
        """
        self._check_sock(sock)
        if type(sock) is not socket.socket:
            return await self._when_readable(sock, lambda: sock.recv_into(buf))
        fd = sock.fileno()
        while (count := _receive_into(fd, buf)) is None:
            future = self._wait_readable(fd)
            try:
                await future
            except BaseException:
                self._forget_wait(fd, future)
                raise
        return count

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to `bufsize` bytes and its sender.

        Args:
            sock: A non-blocking datagram socket.
            bufsize: How many bytes at most; what is longer is cut.

        Returns:
            The bytes and the address.

        Raises:
            OSError: What recvfrom(2) gives.
            ValueError: In debug mode, for a blocking socket.
        """
        self._check_sock(sock)
        return await self._when_readable(sock, lambda: sock.recvfrom(bufsize))

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into a writable buffer.

        Args:
            sock: A non-blocking datagram socket.
            buf: The buffer.
            nbytes: How many bytes at most; the buffer's length when 0.

        Returns:
            How many bytes came, and the sender's address.

        Raises:
            OSError: What recvfrom(2) gives.
            ValueError: `nbytes` is more than the buffer holds, or, in debug mode, the socket is blocking.
        """
        self._check_sock(sock)
        limit = nbytes or len(buf)
        return await self._when_readable(sock, lambda: sock.recvfrom_into(buf, limit))

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of `data`.

        Args:
            sock: A non-blocking socket.
            data: A bytes-like object. Changing it before the call is over changes what is sent.

        Raises:
            OSError: What send(2) gives; how much was sent by then is not known.
            ValueError: In debug mode, for a blocking socket.
        """
        self._check_sock(sock)
        if type(sock) is not socket.socket:
            with memoryview(data).cast("B") as view:
                sent = 0

                def send_rest() -> int:
                    return sock.send(view[sent:])

                while sent < len(view):
                    sent += await self._when_writable(sock, send_rest)
            return
        fd = sock.fileno()
        size = len(data) if isinstance(data, bytes | bytearray) else memoryview(data).nbytes
        sent = 0
        while sent < size:
            count = _send(fd, data, sent)
            if count is not None:
                sent += count
                continue
            future = self._wait_writable(fd)
            try:
                await future
            except BaseException:
                self._forget_wait(fd, future)
                raise

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram to an address.

        Args:
            sock: A non-blocking datagram socket.
            data: A bytes-like object.
            address: Where to; its host must be numeric, because nothing here looks names up.

        Returns:
            How many bytes were sent.

        Raises:
            OSError: What sendto(2) gives.
            ValueError: In debug mode, for a blocking socket.
        """
        self._check_sock(sock)
        return await self._when_writable(sock, lambda: sock.sendto(data, address))

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect to an address, whose host is looked up if need be.

        Args:
            sock: A non-blocking socket.
            address: As ``socket.connect`` takes it.

        Raises:
            OSError: What connect(2) gives, naming the address.
            ValueError: In debug mode, for a blocking socket.
        """
        self._check_sock(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = found[0][4]
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            fd = sock.fileno()
            future = self._wait_writable(fd)
            try:
                await future
            except BaseException:
                self._forget_wait(fd, future)
                raise
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, f"Connect call failed {address}") from None

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Args:
            sock: A non-blocking socket that listens.

        Returns:
            The connection, non-blocking, and the peer's address.

        Raises:
            OSError: What accept(2) gives.
            ValueError: In debug mode, for a blocking socket.
        """
        self._check_sock(sock)
        connection, address = await self._when_readable(sock, lambda: sock.accept())
        connection.setblocking(False)
        return connection, address

    def _check_sock(self, sock: socket.socket) -> None:
        if _SSLSocket is not None and isinstance(sock, _SSLSocket):
            raise TypeError("Socket cannot be of type SSLSocket")
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def _when_readable(self, sock: socket.socket, attempt: Callable[[], _T]) -> _T:
        """Try until the kernel does not say "would block"; the socket was checked.

        An attempt is a lambda and no bound method, so that the socket's method is looked up for each try, as asyncio
        does it: a socket that is wrapped or mocked may have got another one meanwhile.
        """
        while True:
            try:
                return attempt()
            except (BlockingIOError, InterruptedError):
                fd = sock.fileno()
            future = self._wait_readable(fd)
            try:
                await future
            except BaseException:
                self._forget_wait(fd, future)
                raise

    async def _when_writable(self, sock: socket.socket, attempt: Callable[[], _T]) -> _T:
        """As `_when_readable`, for the other direction."""
        while True:
            try:
                return attempt()
            except (BlockingIOError, InterruptedError):
                fd = sock.fileno()
            future = self._wait_writable(fd)
            try:
                await future
            except BaseException:
                self._forget_wait(fd, future)
                raise
