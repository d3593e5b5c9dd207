"""What the slow-path methods may assume about the loop they are mixed into.

The methods of the loop that are not hot live in sibling modules, one class of methods per module, and are
composed with the native class in `_loop.py`. To a type checker each such class is part of an event loop that
has the private methods named here; at run time their common base is empty, so that the native class stays the
first to answer for everything that it defines.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import contextvars
    import socket
    import ssl
    from concurrent.futures import Executor
    from weakref import WeakSet

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[object, ...]]
"""One answer of ``getaddrinfo``: family, type, protocol, canonical name, address."""

AddressInfos: TypeAlias = Sequence[AddressInfo]

ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]


if TYPE_CHECKING:

    class LoopSurface(asyncio.BaseEventLoop):
        """An event loop, with those private members of it that the mixins use."""

        slow_callback_duration: float
        _debug: bool
        _default_executor: Executor | None
        _servers: WeakSet[Any]
        _children: WeakSet[Any]
        _executor_shutdown_called: bool

        def _check_closed(self) -> None: ...

        def _check_running(self) -> None: ...

        def _check_thread(self) -> None: ...

        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...

        def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None: ...

        def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None: ...

        def _check_callback(self, callback: object, method: str) -> None: ...

        def _check_sendfile_params(self, sock: object, file: object, offset: object, count: object) -> None: ...

        async def _ensure_resolved(
            self,
            address: tuple[Any, ...],
            *,
            family: int = 0,
            type: int = ...,
            proto: int = 0,
            flags: int = 0,
            loop: object = None,
        ) -> AddressInfos: ...

        def _wait_readable(self, fd: int) -> asyncio.Future[None]: ...

        def _wait_writable(self, fd: int) -> asyncio.Future[None]: ...

        def _forget_wait(self, fd: int, future: asyncio.Future[None]) -> None: ...

        def _adopt_socket(
            self,
            sock: socket.socket,
            protocol: asyncio.BaseProtocol,
            waiter: asyncio.Future[None] | None = None,
            server: asyncio.AbstractServer | None = None,
            context: contextvars.Context | None = None,
        ) -> Any: ...

        def _make_socket_transport(
            self,
            sock: socket.socket,
            protocol: asyncio.BaseProtocol,
            waiter: asyncio.Future[None] | None = None,
            *,
            extra: dict[str, object] | None = None,
            server: asyncio.AbstractServer | None = None,
            context: contextvars.Context | None = None,
        ) -> asyncio.Transport: ...

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
        ) -> asyncio.Transport: ...

        def _ensure_fd_no_transport(self, fd: object) -> None: ...

        def _adopt_datagram_socket(
            self,
            sock: socket.socket,
            protocol: asyncio.BaseProtocol,
            kind: str | None,
            address: object,
            connected: bool,
            waiter: asyncio.Future[None] | None,
            context: contextvars.Context | None,
        ) -> Any: ...

        def _make_datagram_transport(
            self,
            sock: socket.socket,
            protocol: asyncio.BaseProtocol,
            address: Any = None,
            waiter: asyncio.Future[None] | None = None,
            extra: dict[str, object] | None = None,
            *,
            context: contextvars.Context | None = None,
        ) -> Any: ...

        def _start_serving(
            self,
            protocol_factory: ProtocolFactory,
            sock: socket.socket,
            sslcontext: ssl.SSLContext | None = None,
            server: asyncio.AbstractServer | None = None,
            backlog: int = 100,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
        ) -> None: ...

        def _stop_serving(self, sock: socket.socket) -> None: ...

else:

    class LoopSurface:
        """An empty base: see the other branch for what it stands for."""

        __slots__ = ()
