"""The methods that open connections and servers: arguments in, transports and servers out.

What they promise is what CPython documents up to 3.15, on every Python. The order of the checks is asyncio's, and so
is the rule which methods are called through the instance (`getaddrinfo`, `sock_connect`): subclasses and test suites
replace them there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.log import logger
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ._arguments import (
    check_not_tls_socket,
    check_server_context,
    check_stream_socket,
    check_tls_only,
    check_unix_socket,
)
from ._dialing import connected_socket, interleaved
from ._listening import bound_sockets, resolved_hosts
from ._protocols import AddressInfos, LoopSurface, ProtocolFactory
from ._server import Server
from ._unix_files import ListeningFile, bind_unix

if TYPE_CHECKING:
    import ssl as _ssl

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

_REMOVE_UNIX_FILES = sys.version_info >= (3, 13)
"""Whether a closed Unix server removes its file unless told otherwise: as the running Python's asyncio has it,
because on an older one programs count on finding it there."""


class ConnectionMethods(LoopSurface):
    """``create_connection``, ``create_server``, their Unix twins and ``connect_accepted_socket``."""

    __slots__ = ()

    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: str | bytes | None = None,
        port: int | str | None = None,
        *,
        ssl: bool | _ssl.SSLContext | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Open a TCP connection, or wrap a stream socket that is connected already.

        Args:
            protocol_factory: Called without arguments when the socket is connected.
            host: A name or an address literal. Names with many addresses are tried in order.
            port: A number, or the name of a service.
            ssl: A context for TLS, or True for the defaults of `ssl.create_default_context`.
            family: Try only addresses of this family.
            proto: Passed on to `getaddrinfo`.
            flags: Passed on to `getaddrinfo`.
            sock: A connected stream socket, instead of `host` and `port`. The transport owns it from then on, and so does
                a failure: it is closed.
            local_addr: Host and port to connect from.
            server_hostname: The name that the peer's certificate must bear. Only with TLS.
            ssl_handshake_timeout: Seconds that the handshake may take; 60 when None. Only with TLS.
            ssl_shutdown_timeout: Seconds that the goodbye may take; 30 when None. Only with TLS.
            happy_eyeballs_delay: Seconds after which the next address is tried beside one that has not answered
                (RFC 8305 recommends 0.25). None: one after the other.
            interleave: Let address families take turns, after this many addresses of the first one. 1 when
                `happy_eyeballs_delay` is given.
            all_errors: When no address can be connected to, raise all failures as an ExceptionGroup.

        Returns:
            The transport and the protocol; ``connection_made`` has been called.

        Raises:
            OSError: No address could be connected to.
            ExceptionGroup: The same, with `all_errors`.
            ValueError: The arguments contradict each other.
            TypeError: `sock` is an `ssl.SSLSocket`.

        A checkpoint.
        """
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        if server_hostname is None and ssl:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host.decode("ascii") if isinstance(host, bytes) else host
        check_tls_only(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sock is not None:
            check_not_tls_socket(sock)
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            addresses = await self._addresses((host, port), family, proto, flags)
            local_addresses = None
            if local_addr is not None:
                local_addresses = await self._addresses(local_addr, family, proto, flags)
            if interleave is None and happy_eyeballs_delay is not None:
                interleave = 1
            if interleave:
                addresses = interleaved(addresses, interleave)
            sock = await connected_socket(
                self, addresses, local_addresses, delay=happy_eyeballs_delay, all_errors=all_errors
            )
        else:
            if sock is None:
                raise ValueError("host and port was not specified and no sock specified")
            check_stream_socket(sock)
        tls = _Tls(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout) if ssl else None
        transport, protocol = await _opened(self, sock, protocol_factory, tls)
        if self._debug:
            wrapped = transport.get_extra_info("socket")
            logger.debug("%r connected to %s:%r: (%r, %r)", wrapped, host, port, transport, protocol)
        return transport, protocol

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None,
        *,
        ssl: bool | _ssl.SSLContext | None = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Open a connection to a Unix socket, or wrap one that is connected already.

        Args:
            protocol_factory: Called without arguments when the socket is connected.
            path: A path, or an abstract name (which begins with a NUL).
            ssl: A context for TLS, or True for the defaults of `ssl.create_default_context`.
            sock: A connected Unix stream socket, instead of `path`. The transport owns it from then on, and so does
                a failure: it is closed.
            server_hostname: The name that the peer's certificate must bear. Only with TLS.
            ssl_handshake_timeout: Seconds that the handshake may take; 60 when None. Only with TLS.
            ssl_shutdown_timeout: Seconds that the goodbye may take; 30 when None. Only with TLS.

        Returns:
            The transport and the protocol; ``connection_made`` has been called.

        Raises:
            OSError: The path cannot be connected to.
            ValueError: The arguments contradict each other, or `sock` is no Unix stream.

        A checkpoint.
        """
        if ssl:
            if server_hostname is None:
                raise ValueError("you have to pass server_hostname when using ssl")
        elif server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        check_tls_only(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = await _unix_connected(self, os.fspath(path))
        else:
            if sock is None:
                raise ValueError("no path and sock were specified")
            check_unix_socket(sock)
        tls = _Tls(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout) if ssl else None
        return await _opened(self, sock, protocol_factory, tls)

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        sock: socket.socket,
        *,
        ssl: bool | _ssl.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Wrap a connection that was accepted elsewhere.

        Args:
            protocol_factory: Called without arguments.
            sock: The socket that ``accept()`` returned. The transport owns it from then on, and so does a failure: it
                is closed.
            ssl: A context for TLS, of which this end is the server.
            ssl_handshake_timeout: Seconds that the handshake may take; 60 when None. Only with TLS.
            ssl_shutdown_timeout: Seconds that the goodbye may take; 30 when None. Only with TLS.

        Returns:
            The transport and the protocol; ``connection_made`` has been called.

        Raises:
            ValueError: `sock` is no stream, or a timeout of TLS is set without `ssl`.
            TypeError: `sock` is an `ssl.SSLSocket`.

        A checkpoint.
        """
        check_stream_socket(sock)
        check_tls_only(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        check_not_tls_socket(sock)
        tls = _Tls(ssl, "", ssl_handshake_timeout, ssl_shutdown_timeout, server_side=True) if ssl else None
        transport, protocol = await _opened(self, sock, protocol_factory, tls)
        if self._debug:
            wrapped = transport.get_extra_info("socket")
            logger.debug("%r handled: (%r, %r)", wrapped, transport, protocol)
        return transport, protocol

    async def create_server(
        self,
        protocol_factory: ProtocolFactory,
        host: str | Iterable[str] | None = None,
        port: int | str | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: bool | _ssl.SSLContext | None = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen on TCP addresses.

        Args:
            protocol_factory: Called without arguments for each connection.
            host: A name or an address literal, or several of them. "" and None mean all interfaces, of IPv4 and
                of IPv6. An address that appears twice is bound once.
            port: A number; 0 lets the kernel choose one for each address.
            family: Keep only addresses of this family.
            flags: Passed on to `getaddrinfo`.
            sock: A bound stream socket, instead of `host` and `port`. The server owns it from then on.
            backlog: How many connections the kernel may keep waiting.
            ssl: A context for TLS, with the server's certificate.
            reuse_address: Set SO_REUSEADDR; the default is to do so on Unix.
            reuse_port: Set SO_REUSEPORT, so that other processes may listen there too.
            keep_alive: Set SO_KEEPALIVE on the connections.
            ssl_handshake_timeout: Seconds that the handshake may take; 60 when None. Only with TLS.
            ssl_shutdown_timeout: Seconds that the goodbye may take; 30 when None. Only with TLS.
            start_serving: Begin to accept at once; otherwise ``server.start_serving()`` does.

        Returns:
            The server.

        Raises:
            OSError: An address cannot be bound (the text names it), or a host has no address.
            ValueError: The arguments contradict each other.
            TypeError: `ssl` is a bool, or `sock` is an `ssl.SSLSocket`.

        A checkpoint, unless everything is given as a literal and `start_serving` is false.
        """
        check_server_context(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        assert not isinstance(ssl, bool)
        if sock is not None:
            check_not_tls_socket(sock)
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            addresses = await resolved_hosts(self, _each_host(host), port, family=family, flags=flags)
            sockets = bound_sockets(
                addresses,
                reuse_address=reuse_address,
                reuse_port=reuse_port,
                keep_alive=keep_alive,
                debug=self._debug,
            )
        else:
            if sock is None:
                raise ValueError("Neither host/port nor sock were specified")
            check_stream_socket(sock)
            sock.setblocking(False)
            sockets = [sock]
        server = Server(self, sockets, protocol_factory, ssl, backlog, ssl_handshake_timeout, ssl_shutdown_timeout)
        if start_serving:
            await _started(server, made_here=sock is None)
        if self._debug:
            logger.info("%r is serving", server)
        return server

    async def create_unix_server(
        self,
        protocol_factory: ProtocolFactory,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: bool | _ssl.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = _REMOVE_UNIX_FILES,
        mode: int | None = None,
    ) -> Server:
        """Listen on a Unix socket.

        Args:
            protocol_factory: Called without arguments for each connection.
            path: A path, or an abstract name (which begins with a NUL). A socket that stands there is replaced.
            sock: A bound Unix stream socket, instead of `path`. The server owns it from then on.
            backlog: How many connections the kernel may keep waiting.
            ssl: A context for TLS, with the server's certificate.
            ssl_handshake_timeout: Seconds that the handshake may take; 60 when None. Only with TLS.
            ssl_shutdown_timeout: Seconds that the goodbye may take; 30 when None. Only with TLS.
            start_serving: Begin to accept at once; otherwise ``server.start_serving()`` does.
            cleanup_socket: Remove the file when the server is closed, unless another one has taken its place.
                The default is what asyncio does on the running Python: true from 3.13 on.
            mode: Permissions for the file, as `os.chmod` takes them. They are in force before the first
                connection can be made. Not for abstract names.

        Returns:
            The server.

        Raises:
            OSError: The path cannot be bound. When it is in use the text names it.
            ValueError: The arguments contradict each other, or `sock` is no Unix stream.
            TypeError: `ssl` is a bool.

        A checkpoint if `start_serving` is true.
        """
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        check_tls_only(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        made_here = path is not None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = bind_unix(os.fspath(path), mode)
        else:
            if sock is None:
                raise ValueError("path was not specified, and no sock specified")
            check_unix_socket(sock)
            if mode is not None:
                raise ValueError("mode and sock can not be specified at the same time")
        listening_file = ListeningFile.of(sock) if cleanup_socket else None
        sock.setblocking(False)
        server = Server(
            self,
            [sock],
            protocol_factory,
            ssl,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            listening_file=listening_file,
        )
        if start_serving:
            await _started(server, made_here=made_here)
        return server

    async def _addresses(self, address: tuple[object, object], family: int, proto: int, flags: int) -> AddressInfos:
        """Resolve one end of a connection."""
        infos = await self._ensure_resolved(
            address, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags, loop=self
        )
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return infos


@dataclass(frozen=True, slots=True)
class _Tls:
    """What a connection that is to be encrypted was given."""

    ssl: bool | _ssl.SSLContext
    server_hostname: str | None
    handshake_timeout: float | None
    shutdown_timeout: float | None
    server_side: bool = False


async def _opened(
    loop: LoopSurface, sock: socket.socket, protocol_factory: Callable[[], _ProtocolT], tls: _Tls | None
) -> tuple[asyncio.Transport, _ProtocolT]:
    """Put a transport on a connected socket and wait until its protocol knows; on any failure close the socket."""
    try:
        sock.setblocking(False)
        protocol = protocol_factory()
        waiter: asyncio.Future[None] = loop.create_future()
        if tls is None:
            transport = loop._make_socket_transport(sock, protocol, waiter)
        else:
            transport = loop._make_ssl_transport(
                sock,
                protocol,
                None if isinstance(tls.ssl, bool) else tls.ssl,
                waiter,
                server_side=tls.server_side,
                server_hostname=tls.server_hostname,
                ssl_handshake_timeout=tls.handshake_timeout,
                ssl_shutdown_timeout=tls.shutdown_timeout,
            )
    except BaseException:
        sock.close()
        raise
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    finally:
        # It may hold an exception whose traceback holds this frame.
        del waiter
    return transport, protocol


async def _unix_connected(loop: LoopSurface, path: str | bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


async def _started(server: Server, *, made_here: bool) -> None:
    """Begin to serve. A server over sockets that were made here is closed again if they cannot listen."""
    try:
        await server.start_serving()
    except BaseException:
        if made_here:
            server.close()
        raise


def _each_host(host: object) -> list[str | None]:
    if host == "":
        return [None]
    if isinstance(host, (str, bytes)) or not isinstance(host, Iterable):
        return [host]  # type: ignore[list-item]  # what it should not be, the resolver refuses
    return list(host)
