"""Datagram transports as Python sees them: the native half, and what is asked once per endpoint.

Datagrams never pass through this file, unless the socket is of a class or family of its own.
"""

from __future__ import annotations

import asyncio
import socket
import warnings
from asyncio import trsock
from typing import TYPE_CHECKING, Any

from . import _tepal
from ._protocols import LoopSurface

if TYPE_CHECKING:
    import contextvars

_KINDS = {socket.AF_INET: "inet", socket.AF_INET6: "inet6", socket.AF_UNIX: "unix"}
"""Families whose datagrams the native half reads and writes by descriptor."""


class DatagramTransport(_tepal.DatagramTransport, asyncio.Transport):
    """A socket of datagrams: UDP, Unix, or what else the socket module knows (see `asyncio.DatagramTransport`).

    It is an `asyncio.Transport` too, as asyncio's own are: there is code that asks. A datagram leaves at once, or waits
    until the kernel has room. A mutable buffer that has to wait is copied, so changing it after `sendto` changes nothing.
    """

    _extra: dict[str, object] = {}  # noqa: RUF012  # stands for the instances that were never opened

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Look up a fact about the endpoint.

        Args:
            name: ``"peername"`` (None unless the socket is connected), ``"sockname"`` or ``"socket"``.
            default: What to return for a name that is not known.

        Returns:
            The value. ``"socket"`` is a live `asyncio.trsock.TransportSocket`; its ``fileno()`` is -1 once closed.

        Not a checkpoint.
        """
        return self._extra.get(name, default)

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

    @property
    def _sock(self) -> socket.socket | None:
        return self._socket()

    @property
    def _sock_fd(self) -> int:
        return self._fact(0, -1)

    @property
    def _closing(self) -> bool:
        return bool(self._fact(2, True))

    @property
    def _conn_lost(self) -> int:
        return self._fact(3, 1)

    @property
    def _address(self) -> Any:
        return self._own_address()

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
            return "<tepal.DatagramTransport without a socket>"
        fileno, reading, closing, _, buffered = facts
        state = "closed" if fileno == -1 else "closing" if closing else "open"
        read = "polling" if reading else "idle"
        write = "polling" if buffered else "idle"
        return f"<tepal.DatagramTransport {state} fd={fileno} read={read} write=<{write}, bufsize={buffered}>>"

    def __del__(self) -> None:
        """Warn when an endpoint is dropped open; it is closed then."""
        if self._sock_fd != -1:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)
            self._close_socket()


class DatagramMethods(LoopSurface):
    """How the loop's other methods make a datagram transport."""

    __slots__ = ()

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, object] | None = None,
        *,
        context: contextvars.Context | None = None,
    ) -> DatagramTransport:
        """Make a transport over a datagram socket.

        `connection_made` is called in a coming turn, and `waiter` is done after it. With an `address`, datagrams go there
        and nowhere else. The protocol's methods run in `context`, or in a copy of the current one.
        """
        self._ensure_fd_no_transport(sock)
        facts: dict[str, object] = {} if extra is None else dict(extra)
        facts["socket"] = trsock.TransportSocket(sock)
        facts["sockname"] = _name(sock.getsockname)
        if "peername" not in facts:
            facts["peername"] = _name(sock.getpeername)
        kind = _KINDS.get(sock.family) if type(sock) is socket.socket else None
        transport: DatagramTransport = self._adopt_datagram_socket(
            sock, protocol, kind, address or None, bool(facts["peername"]), waiter, context
        )
        transport._extra = facts
        return transport


def _name(ask: Any) -> object:
    try:
        return ask()
    except OSError:
        return None
