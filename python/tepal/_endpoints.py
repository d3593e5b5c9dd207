"""`create_datagram_endpoint`: arguments in, a bound or connected socket under a transport out.

The order of the checks is asyncio's, and so is the rule which methods are called through the instance (`getaddrinfo`,
`sock_connect`).
"""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.log import logger
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from ._listening import set_reuse_port
from ._protocols import LoopSurface
from ._unix_files import is_abstract, remove_stale

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

_Candidate: TypeAlias = tuple[int, int, Any, Any]
"""A socket that could be made: family, protocol number, local and remote address."""

_EXPECTED = "A datagram socket was expected" if sys.version_info >= (3, 13) else "A UDP Socket was expected"
"""What asyncio says of a stream: programs and tests of the running Python look for its words."""


class EndpointMethods(LoopSurface):
    """``create_datagram_endpoint``."""

    __slots__ = ()

    async def create_datagram_endpoint(  # type: ignore[override]  # typeshed says more of local_addr than CPython does
        self,
        protocol_factory: Callable[[], _ProtocolT],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _ProtocolT]:
        """Open an endpoint for datagrams: UDP, or Unix datagrams.

        Args:
            protocol_factory: Called without arguments when the socket is ready.
            local_addr: Host and port to bind; a path or an abstract name, with ``family=socket.AF_UNIX``. A socket that
                stands at the path is replaced.
            remote_addr: Host and port, or a path, to connect to. Datagrams then go there and come from there only.
            family: Use only addresses of this family. Without addresses, the family of the socket.
            proto: Passed on to `getaddrinfo`.
            flags: Passed on to `getaddrinfo`.
            reuse_port: Set SO_REUSEPORT, so that other sockets may be bound to the address too.
            allow_broadcast: Set SO_BROADCAST. The socket is then not connected to `remote_addr`: datagrams go there, and
                come from anywhere.
            sock: A datagram socket, instead of all the others. The transport owns it from then on.

        Returns:
            The transport and the protocol; ``connection_made`` has been called.

        Raises:
            OSError: No address could be bound and connected to, or a host has none.
            ValueError: The arguments contradict each other or name no address, `sock` is a stream, or `reuse_port` is not
                supported here.
            TypeError: An address has the wrong form.

        A checkpoint.
        """
        made_here = sock is None
        remote_address = None
        if sock is not None:
            if sock.type == socket.SOCK_STREAM:
                raise ValueError(f"{_EXPECTED}, got {sock!r}")
            _refuse_beside_sock(
                local_addr=local_addr,
                remote_addr=remote_addr,
                family=family,
                proto=proto,
                flags=flags,
                reuse_port=reuse_port,
                allow_broadcast=allow_broadcast,
            )
            sock.setblocking(False)
        else:
            candidates = await self._datagram_candidates(local_addr, remote_addr, family, proto, flags)
            sock, remote_address = await self._first_datagram_socket(
                candidates, bool(local_addr), bool(remote_addr), reuse_port, allow_broadcast
            )
        waiter: asyncio.Future[None] = self.create_future()
        try:
            protocol = protocol_factory()
            transport = self._make_datagram_transport(sock, protocol, remote_address, waiter)
        except BaseException:
            if made_here:
                sock.close()
            raise
        if self._debug:
            report = logger.info if local_addr else logger.debug
            origin = f"local_addr={local_addr!r} " if local_addr else ""
            report("Datagram endpoint %sremote_addr=%r created: (%r, %r)", origin, remote_addr, transport, protocol)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        finally:
            # It may hold an exception whose traceback holds this frame.
            del waiter
        return transport, protocol

    async def _datagram_candidates(
        self, local_addr: Any, remote_addr: Any, family: int, proto: int, flags: int
    ) -> list[_Candidate]:
        """List the sockets that could be made, in the order in which they are to be tried."""
        if not (local_addr or remote_addr):
            if family == 0:
                raise ValueError("unexpected address family")
            return [(family, proto, None, None)]
        if hasattr(socket, "AF_UNIX") and family == socket.AF_UNIX:
            for address in (local_addr, remote_addr):
                if address is not None and not isinstance(address, str):
                    raise TypeError("string is expected")
            if local_addr and not is_abstract(local_addr):
                remove_stale(local_addr)
            return [(family, proto, local_addr, remote_addr)]
        found: list[dict[tuple[int, int], Any]] = []
        for address in (local_addr, remote_addr):
            if address is None:
                found.append({})
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError("2-tuple is expected")
            infos = await self._ensure_resolved(
                address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags, loop=self
            )
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            # Of several addresses of one family the last one counts, as in asyncio.
            found.append({(info[0], info[2]): info[4] for info in infos})
        local, remote = found
        # A socket has one family, so both ends must have an address of it, if both were asked for.
        candidates = [
            (family, proto, local.get((family, proto)), remote.get((family, proto)))
            for family, proto in dict.fromkeys([*local, *remote])
            if not (local_addr and (family, proto) not in local) and not (remote_addr and (family, proto) not in remote)
        ]
        if not candidates:
            raise ValueError("can not get address information")
        return candidates

    async def _first_datagram_socket(
        self,
        candidates: list[_Candidate],
        bind: bool,
        connect: bool,
        reuse_port: bool | None,
        allow_broadcast: bool | None,
    ) -> tuple[socket.socket, Any]:
        """Return the first socket that can be made, bound and connected, and the address that it sends to."""
        failure: OSError | None = None
        for family, proto, local_address, remote_address in candidates:
            sock = None
            try:
                sock = socket.socket(family=family, type=socket.SOCK_DGRAM, proto=proto)
                if reuse_port:
                    set_reuse_port(sock)
                if allow_broadcast:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sock.setblocking(False)
                if bind:
                    sock.bind(local_address)
                if connect and not allow_broadcast:
                    await self.sock_connect(sock, remote_address)
            except OSError as error:
                if sock is not None:
                    sock.close()
                failure = failure or error
            except BaseException:
                if sock is not None:
                    sock.close()
                raise
            else:
                return sock, remote_address if connect else None
        assert failure is not None, "there is at least one candidate"
        try:
            raise failure
        finally:
            # Its traceback holds this frame.
            del failure


def _refuse_beside_sock(**options: object) -> None:
    """Refuse what says how to make a socket when there is one.

    Raises:
        ValueError: One of the options is set; the text names them.
    """
    problems = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if problems:
        raise ValueError(f"socket modifier keyword arguments can not be used when sock is specified. ({problems})")
