"""A protocol that stands in for another while somebody else writes to its transport.

Who writes a file to a transport must wait when the transport says so, and the transport says so to its protocol. So
for that time the protocol is this one. When it leaves, the protocol that was there before is told what it missed: a
transport that began or ceased to be full meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Any


class WriteGate(asyncio.Protocol):
    """A stand-in that knows whether its transport wants to be written to. The transport does not read meanwhile.

    Args:
        loop: The transport's loop.
        transport: Any transport that writes and reads; its protocol is replaced until `leave`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Any) -> None:
        """Take the place of the transport's protocol."""
        self._loop = loop
        self._transport = transport
        self._protocol = transport.get_protocol()
        self._reading = transport.is_reading()
        self._was_full = self._full = _is_full(transport)
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    async def opened(self) -> None:
        """Wait until the transport wants to be written to.

        Raises:
            ConnectionError: The connection is closing or closed.
            Exception: What ``connection_lost`` was told.

        A checkpoint if the transport is full.
        """
        if self._full and self._takes_writes():
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self._takes_writes():
            # Also when it was closed while it had too much to send: what is written now would go nowhere.
            raise ConnectionError("Connection closed by peer")

    def _takes_writes(self) -> bool:
        """Whether what is written has a way to go.

        TLS knows better than `is_closing`: the gate has paused reading, so the peer's end may lie there unread.
        """
        if self._transport.is_closing():
            return False
        ask = getattr(self._transport, "_takes_writes", None)
        return ask is None or bool(ask())

    def leave(self) -> None:
        """Give the transport its protocol back."""
        if self._lost:
            return  # It would only be kept alive: nothing will be told to it any more.
        self._transport.set_protocol(self._protocol)
        if self._reading:
            self._transport.resume_reading()
        if self._full != self._was_full:
            self._tell("pause_writing" if self._full else "resume_writing")

    def pause_writing(self) -> None:
        """The transport is full."""
        self._full = True

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._full = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended: whoever waits is told, and the protocol that is stood in for."""
        self._lost = True
        if self._waiter is not None and not self._waiter.done():
            # An end without an error is one for whoever had more to write.
            self._waiter.set_exception(exc or ConnectionError("Connection is closed by peer"))
        self._protocol.connection_lost(exc)

    def _tell(self, method: str) -> None:
        try:
            getattr(self._protocol, method)()
        except Exception as error:  # noqa: BLE001  # reported as a transport reports it
            self._loop.call_exception_handler(
                {
                    "message": f"protocol.{method}() failed",
                    "exception": error,
                    "transport": self._transport,
                    "protocol": self._protocol,
                }
            )


def _is_full(transport: Any) -> bool:
    """Whether the transport has told its protocol to pause writing."""
    paused = getattr(transport, "_protocol_paused", None)
    if isinstance(paused, bool):
        return paused
    # Nothing public says so; above the high mark it must have.
    return bool(transport.get_write_buffer_size() > transport.get_write_buffer_limits()[1])
