"""The server object: asyncio's, with its clients in a set that costs little.

`asyncio.Server` has changed with every release: what `_attach` takes, whether it counts its clients or keeps
them, in which context it serves, when `wait_closed` returns. `Server` inherits whatever the running interpreter
does and replaces only how it speaks with the loop and its transports: so `close_clients` and `abort_clients` exist
on every Python, and the native side is called in one way.

asyncio keeps the clients in a WeakSet. Here a plain set does: an open transport is held by its loop anyway, and
adding to a WeakSet costs more than the rest of accepting a connection that Python sees.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
from asyncio import base_events
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from ._protocols import LoopSurface, ProtocolFactory
    from ._unix_files import ListeningFile


class Server(base_events.Server):
    """A listening server, as `create_server` and `create_unix_server` return it.

    The methods are those of `asyncio.Server`; ``wait_closed()`` keeps the meaning that it has in the running
    interpreter (from Python 3.12 on it waits for the connections as well).
    """

    # The state that asyncio's class keeps and type stubs do not show.
    _loop: LoopSurface
    _protocol_factory: ProtocolFactory
    _ssl_context: ssl.SSLContext | None
    _backlog: int
    _ssl_handshake_timeout: float | None
    _ssl_shutdown_timeout: float | None
    _serving: bool
    _sockets: list[socket.socket] | None
    _waiters: list[asyncio.Future[None]] | None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sockets: Iterable[socket.socket],
        protocol_factory: ProtocolFactory,
        ssl_context: ssl.SSLContext | None,
        backlog: int,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None = None,
        *,
        listening_file: ListeningFile | None = None,
    ) -> None:
        """Make a server over sockets that are bound and not yet listening.

        Args:
            loop: The loop that serves it.
            sockets: The bound sockets. The server closes them when it is closed.
            protocol_factory: Called without arguments for each connection.
            ssl_context: The context of TLS, or None.
            backlog: How many connections the kernel may keep waiting for each socket.
            ssl_handshake_timeout: Seconds, or None.
            ssl_shutdown_timeout: Seconds, or None.
            listening_file: The file of a Unix socket, to be removed when the server is closed.
        """
        super().__init__(
            loop,
            sockets,
            protocol_factory,
            ssl_context,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        self._clients: set[asyncio.Transport] = set()
        # Python 3.11 and 3.12 ask for this number, later ones for the length of the set: both are kept true.
        self._active_count = 0
        self._listening_file = listening_file
        # Every connection is served in a copy of the context in which its server was made (asyncio: from 3.15 on).
        self._context = contextvars.copy_context()

    def close(self, grace: float | None = None) -> None:
        """Stop listening. Connections that are open stay open. Closing twice does nothing.

        Args:
            grace: How many seconds they may stay open: what is left then is aborted, so that ``wait_closed()`` returns, idle
                clients or not. May be given again, to shorten the time. None: as long as they like.

        Raises:
            ValueError: The time is negative, or NaN.

        Not a checkpoint.
        """
        if grace is not None:
            if not grace >= 0:
                raise ValueError(f"grace must be a non-negative number of seconds, not {grace!r}")
            self._loop.call_later(grace, self.abort_clients)
        super().close()
        listening_file, self._listening_file = self._listening_file, None
        if listening_file is not None:
            listening_file.remove()

    def close_clients(self) -> None:
        """Close every connection of this server when what it has to send is sent.

        Not a checkpoint.
        """
        for transport in tuple(self._clients):
            transport.close()

    def abort_clients(self) -> None:
        """Close every connection of this server at once; what it had to send is lost.

        Not a checkpoint.
        """
        for transport in tuple(self._clients):
            transport.abort()

    def _start_serving(self) -> None:
        """Listen and accept; once is enough."""
        if self._serving:
            return
        self._serving = True
        self._loop._servers.add(self)
        for sock in self._sockets or ():
            sock.listen(self._backlog)
            self._context.run(
                self._loop._start_serving,
                self._protocol_factory,
                sock,
                self._ssl_context,
                self,
                self._backlog,
                self._ssl_handshake_timeout,
                self._ssl_shutdown_timeout,
            )

    def _attach(self, transport: asyncio.Transport | None = None) -> None:
        """Called by a transport when it begins to serve for this server.

        Without an argument it counts a client that nobody can close from here: so asyncio's own transports call
        it up to Python 3.12.
        """
        if transport is not None:
            self._clients.add(transport)
        self._active_count += 1

    def _detach(self, transport: asyncio.Transport | None = None) -> None:
        """Called by a transport when it is closed, and again when it is collected, which does no harm."""
        if transport is not None:
            if transport not in self._clients:
                return
            self._clients.remove(transport)
        self._active_count -= 1
        # A connection accepted in the turn in which the server was closed attaches after the waiters were
        # woken, and its end would wake them again: there is nobody left to wake.
        if self._active_count == 0 and self._sockets is None and self._waiters is not None:
            self._wakeup()

    if TYPE_CHECKING:

        def _wakeup(self) -> None: ...
