"""Stream transports as Python sees them: the native half, and what is asked once per connection.

Bytes never pass through this file.
"""

from __future__ import annotations

import socket
import warnings
from asyncio import constants, trsock
from typing import TYPE_CHECKING, Any

from . import _tepal
from ._protocols import LoopSurface

if TYPE_CHECKING:
    import asyncio
    import contextvars


class SocketTransport(_tepal.StreamTransport):
    """A TCP or Unix stream (see `asyncio.Transport`).

    What one callback or one step of a task writes leaves with one system call when that job ends, or sooner past
    64 KiB. A mutable buffer is copied at `write`, so changing it afterwards changes nothing. A program that writes and
    then blocks its thread keeps the bytes until it returns to the loop.
    """

    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE
    _start_tls_compatible = True
    _given: dict[str, object] | None = None
    _shown: trsock.TransportSocket | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Look up a fact about the connection.

        Args:
            name: ``"peername"``, ``"sockname"``, ``"socket"``, or what was given to `connect_accepted_socket` and the
                like.
            default: What to return for a name that is not known.

        Returns:
            The value. ``"socket"`` is a live `asyncio.trsock.TransportSocket`; its ``fileno()`` is -1 once closed.

        Not a checkpoint.
        """
        if self._given is not None and name in self._given:
            return self._given[name]
        if name == "peername":
            return self._peername()
        if name == "sockname":
            return self._sockname()
        if name == "socket":
            return self._show_socket()
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks between which `pause_writing` and `resume_writing` are called.

        Args:
            high: Pause above so many bytes; 64 KiB, or four times `low`, when None.
            low: Resume at so many bytes; a quarter of `high` when None.

        Raises:
            ValueError: ``high >= low >= 0`` does not hold.

        Not a checkpoint.
        """
        self._set_limits((high, low))

    def _show_socket(self) -> trsock.TransportSocket:
        if self._shown is None:
            own = self._socket()
            if own is None:  # Closed before anybody asked: a socket that is closed as well tells the truth.
                own = socket.socket(_family_of(self._sockname()))
                own.close()
            self._shown = trsock.TransportSocket(own)
        return self._shown

    @property
    def _extra(self) -> dict[str, object]:
        """Everything that `get_extra_info` knows, in one dict; asyncio's own TLS layer looks here."""
        facts = {name: self.get_extra_info(name) for name in ("socket", "sockname", "peername")}
        return facts | (self._given or {})

    @property
    def _sock(self) -> Any:
        return self._socket()

    @property
    def _sock_fd(self) -> int:
        return self._fact(0, -1)

    @property
    def _paused(self) -> bool:
        return bool(self._fact(1, False))

    @property
    def _closing(self) -> bool:
        return bool(self._fact(2, True))

    @property
    def _conn_lost(self) -> int:
        return self._fact(3, 1)

    @property
    def _eof(self) -> bool:
        return bool(self._fact(4, False))

    @property
    def _protocol_paused(self) -> bool:
        return bool(self._fact(6, False))

    @property
    def _protocol(self) -> asyncio.BaseProtocol | None:
        protocol: asyncio.BaseProtocol | None = self.get_protocol()
        return protocol

    def _fact(self, which: int, default: int) -> int:
        facts = self._facts()
        return default if facts is None else facts[which]

    def __repr__(self) -> str:
        """Show the descriptor, and what is going on in both directions."""
        facts = self._facts()
        if facts is None:
            return "<tepal.SocketTransport unconnected>"
        fileno, paused, closing, _, _, buffered, _ = facts
        state = "closed" if fileno == -1 else "closing" if closing else "open"
        reading = "paused" if paused or closing else "polling"
        writing = "polling" if buffered else "idle"
        return f"<tepal.SocketTransport {state} fd={fileno} read={reading} write=<{writing}, bufsize={buffered}>>"

    def __del__(self) -> None:
        """Warn when a connection is dropped open; it is closed then."""
        if self._sock_fd != -1:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)
            self._close_socket()
            server = self._server
            if server is not None:
                server._detach(self)


class TransportMethods(LoopSurface):
    """How the loop's other methods make a transport."""

    __slots__ = ()

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, object] | None = None,
        server: asyncio.AbstractServer | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Transport:
        """Make a transport over a connected socket.

        `connection_made` is called in a coming turn, and `waiter` is done after it. The protocol's methods run in
        `context`, or in a copy of the current one.
        """
        transport: SocketTransport = self._adopt_socket(sock, protocol, waiter, server, context)
        if extra is not None:
            transport._given = extra
        return transport


def _family_of(name: object) -> socket.AddressFamily:
    if isinstance(name, tuple):
        return socket.AF_INET if len(name) == 2 else socket.AF_INET6
    return socket.AF_UNIX
