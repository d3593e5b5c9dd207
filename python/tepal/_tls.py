"""TLS: contexts in, encrypted transports out.

The layer and the transport are native (`crates/tepal-python/src/tls`). Here is what happens once per connection: the
session is made by the `ssl` module, so that a context means exactly what it means there, and an engine is chosen.
"""

from __future__ import annotations

import asyncio
import sysconfig
import warnings
from asyncio import constants
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import _tepal
from ._protocols import LoopSurface

if TYPE_CHECKING:
    import socket
    import ssl

_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


class SSLTransport(_tepal.TlsTransport):
    """An encrypted stream (see `asyncio.Transport`) over another transport.

    What one callback or one step of a task writes is encrypted and leaves when that job ends, or sooner past 64 KiB,
    so that small writes share a record. `close` reads and writes what waits, says goodbye (close_notify) and waits for
    the peer's; `ssl_shutdown_timeout` ends it in any case.

    The name is for those who know a TLS transport by the "ssl" in it (CPython's tests do).
    """

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Look up a fact about the connection.

        Args:
            name: ``"sslcontext"``; after the handshake ``"ssl_object"``, ``"peercert"``, ``"cipher"`` and
                ``"compression"`` (see `asyncio.BaseTransport.get_extra_info`); ``"tls_engine"``, which is ``"direct"``
                when bytes pass through the interpreter's libssl without Python in between, else ``"bio"``; or what
                the lower transport knows.
            default: What to return for a name that is not known.

        Returns:
            The value.

        Not a checkpoint.
        """
        ssl_object = self._ssl_object
        if ssl_object is not None:
            if name == "sslcontext":
                return ssl_object.context
            if name in _AFTER_HANDSHAKE:
                if not self._is_shaken():
                    return default
                return ssl_object if name == "ssl_object" else getattr(ssl_object, _AFTER_HANDSHAKE[name])()
        if name == "tls_engine":
            return self._engine_name() or default
        lower = self._lower
        return default if lower is None else lower.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks between which `pause_writing` and `resume_writing` are called.

        They count what is not encrypted yet; the lower transport has marks of its own.

        Args:
            high: Pause above so many bytes; 512 KiB, or four times `low`, when None.
            low: Resume at so many bytes; a quarter of `high` when None.

        Raises:
            ValueError: ``high >= low >= 0`` does not hold.

        Not a checkpoint.
        """
        self._set_write_limits((high, low))

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks between which the lower transport pauses reading while this one does.

        Args:
            high: Pause above so many unread bytes; 256 KiB, or four times `low`, when None.
            low: Resume at so many bytes; a quarter of `high` when None.

        Raises:
            ValueError: ``high >= low >= 0`` does not hold.

        Not a checkpoint.
        """
        self._set_read_limits((high, low))

    def write_eof(self) -> None:
        """Refuse: TLS as the `ssl` module offers it cannot be half-closed.

        Raises:
            NotImplementedError: Always, as asyncio has it; `can_write_eof` says so.
        """
        raise NotImplementedError("a TLS connection cannot be half-closed: close() it, or end your message another way")

    @property
    def _sslcontext(self) -> ssl.SSLContext | None:
        """The context; libraries look for it here, as they do in asyncio's."""
        ssl_object = self._ssl_object
        return None if ssl_object is None else ssl_object.context

    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause; asyncio's fallback for ``sendfile`` asks."""
        return self._is_protocol_paused()

    @property
    def _closed(self) -> bool:
        return self.is_closing()

    def __repr__(self) -> str:
        """Show the state, the engine and the transport below."""
        state = "closed" if self._lower is None and self.is_closing() else "closing" if self.is_closing() else "open"
        return f"<tepal.SSLTransport {state} engine={self._engine_name()} over {self._lower!r}>"

    def __del__(self) -> None:
        """Warn when a connection is dropped open."""
        if not self.is_closing():
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)


_AFTER_HANDSHAKE = {
    "ssl_object": "",
    "peercert": "getpeercert",
    "cipher": "cipher",
    "compression": "compression",
}


class TlsLayer(_tepal.TlsLayer, asyncio.Protocol):
    """The protocol of the lower transport: decrypts for the protocol above (see `asyncio.sslproto.SSLProtocol`)."""

    @property
    def _sslcontext(self) -> ssl.SSLContext | None:
        """The context; libraries look for it here, too."""
        upper = self._app_transport
        return None if upper is None else upper.get_extra_info("sslcontext")


class TlsMethods(LoopSurface):
    """``start_tls``, and how connections and servers make their TLS."""

    __slots__ = ()

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Go on over TLS on a connection that is open, over TLS even where it is encrypted already.

        Args:
            transport: What `create_connection`, `create_server` or this method made. It is not to be used again.
            protocol: The protocol, whose `connection_made` is not called again.
            sslcontext: The context.
            server_side: Whether this end is the server.
            server_hostname: The name that the peer's certificate must bear.
            ssl_handshake_timeout: Seconds after which a handshake that is not done fails; 60 when None.
            ssl_shutdown_timeout: Seconds that the goodbye may take; 30 when None.

        Returns:
            The transport that the protocol is to use from now on; None, as in asyncio, when `transport` was closed before.

        Raises:
            TypeError: `sslcontext` is no `ssl.SSLContext`, or `transport` cannot carry TLS.
            ValueError: A timeout is not positive.
            ssl.SSLError: The handshake failed.
            ConnectionError: The connection was lost before the handshake was done, or it took too long.

        A checkpoint.
        """
        import ssl

        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        closed_before = transport.is_closing()
        waiter: asyncio.Future[None] = self.create_future()
        layer, upper = self._make_tls(
            protocol,
            sslcontext,
            waiter,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            made=True,
        )
        # The layer gets its transport in the next turn, and no byte before that.
        transport.pause_reading()  # type: ignore[attr-defined]
        early = _read_too_early(protocol) if server_side else b""
        transport.set_protocol(layer)
        steps = [
            self.call_soon(layer.connection_made, transport),
            *([self.call_soon(layer.data_received, early)] if early else []),
            self.call_soon(transport.resume_reading),  # type: ignore[attr-defined]
        ]
        try:
            await waiter
        except BaseException as error:
            transport.close()
            for step in steps:
                step.cancel()
            if closed_before and isinstance(error, ConnectionResetError):
                return None
            raise
        finally:
            # It may hold an exception whose traceback holds this frame.
            del waiter
        return upper

    def _make_tls(
        self,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None,
        *,
        server_side: bool,
        server_hostname: str | None,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        made: bool = False,
    ) -> tuple[TlsLayer, asyncio.Transport]:
        """Make the layer for a lower transport, and the transport for the protocol above."""
        import ssl

        limits = (
            _timeout("ssl_handshake_timeout", ssl_handshake_timeout, constants.SSL_HANDSHAKE_TIMEOUT),
            _timeout("ssl_shutdown_timeout", ssl_shutdown_timeout, _SHUTDOWN_TIMEOUT),
        )
        context = sslcontext or _default_context(server_side, server_hostname)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        ssl_object = context.wrap_bio(
            incoming,
            outgoing,
            server_side=server_side,
            server_hostname=None if server_side else server_hostname or None,
        )
        layer = TlsLayer()
        transport: asyncio.Transport = layer._open(
            self,
            protocol,
            ssl_object,
            (incoming, outgoing),
            waiter=waiter,
            timeouts=limits,
            made=made,
            direct=_wants_nothing_of_python(context, ssl_object),
        )
        return layer, transport

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, object] | None = None,
        server: asyncio.AbstractServer | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        """Make an encrypted transport over a connected socket; `waiter` is done when the handshake is."""
        layer, transport = self._make_tls(
            protocol,
            sslcontext,
            waiter,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._make_socket_transport(rawsock, layer, extra=extra, server=server)
        return transport

    def _serve_tls(
        self,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> TlsLayer:
        """Make the layer between an accepted connection and its protocol."""
        layer, _ = self._make_tls(
            protocol,
            sslcontext,
            None,
            server_side=True,
            server_hostname=None,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        return layer


_SHUTDOWN_TIMEOUT: float = constants.SSL_SHUTDOWN_TIMEOUT


def _timeout(name: str, given: float | None, default: float) -> float:
    if given is None:
        return default
    if given <= 0:
        raise ValueError(f"{name} should be a positive number, got {given}")
    return given


def _default_context(server_side: bool, server_hostname: str | None) -> ssl.SSLContext:
    """What ``ssl=True`` stands for, for a client."""
    import ssl

    if server_side:
        raise ValueError("Server side SSL needs a valid SSLContext")
    context = ssl.create_default_context()
    if not server_hostname:
        context.check_hostname = False
    return context


def _wants_nothing_of_python(context: ssl.SSLContext, ssl_object: ssl.SSLObject) -> bool:
    """Whether bytes may pass beside Python: no callback of it looks at the session, and no subclass changes it.

    Without a GIL the `ssl` module guards a session by a lock of its own, which only it can take.
    """
    import ssl

    return (
        not _FREE_THREADED
        and type(ssl_object) is ssl.SSLObject
        and context.sni_callback is None
        and context.keylog_filename is None
        and context._msg_callback is None
    )


def _read_too_early(protocol: asyncio.BaseProtocol) -> bytes:
    """Take back what the stream above has read and nobody has asked for: it is the beginning of the handshake.

    A client may send its first record right behind the words that agree on TLS.
    """
    if not isinstance(protocol, asyncio.StreamReaderProtocol):
        return b""
    reader = getattr(protocol, "_stream_reader", None)
    buffer: bytearray | Iterable[int] = getattr(reader, "_buffer", b"")
    early = bytes(buffer)
    if early and isinstance(buffer, bytearray):
        buffer.clear()
    return early
