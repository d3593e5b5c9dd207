"""Names and addresses: resolving on threads, and address literals at once.

Looking a name up may block for seconds, so it is done on the default executor. An address literal needs no
look-up, and a thread would cost a hundred times what the answer does; so where the socket module can answer
without asking anybody, it is asked on the spot, with the very same arguments. Nothing is parsed or rebuilt here:
zone ids, flags, errors and the order of the answers are those of `socket.getaddrinfo`. Its answers are remembered.
"""

from __future__ import annotations

import socket
from asyncio.log import logger
from collections.abc import Callable
from typing import Any, TypeAlias

from ._protocols import AddressInfo, AddressInfos, LoopSurface

_Resolver: TypeAlias = Callable[..., list[Any]]
_Namer: TypeAlias = Callable[..., tuple[str, str]]


class NameMethods(LoopSurface):
    """``getaddrinfo``, ``getnameinfo`` and the resolution that connections and servers share."""

    __slots__ = ()

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Resolve a host and a port, as `socket.getaddrinfo` does.

        Args:
            host: A name, an address literal, or None for what `flags` make of it.
            port: A number, a service name, or None.
            family: Keep only addresses of this family.
            type: Keep only addresses for this type of socket.
            proto: Keep only addresses for this protocol.
            flags: ``socket.AI_*``.

        Returns:
            A list of ``(family, type, proto, canonname, sockaddr)``.

        Raises:
            socket.gaierror: There is no such name.

        A checkpoint when the host has to be looked up; a literal is answered without one.
        """
        question = (host, port, family, type, proto, flags)
        # A dict would take 80.0 for 80 and find it, or raise for a list; the socket module is to judge those.
        repeats = host.__class__ is str and port.__class__ is int and self._resolves_by_itself()
        if repeats and (answer := _answers.get(question)) is not None:
            return answer.copy()
        resolve: _Resolver = self._getaddrinfo_debug if self._debug else socket.getaddrinfo
        if _needs_no_lookup(host, port, flags):
            answer = resolve(*question)
            if repeats and not flags & ~_LASTING and "%" not in str(host):
                _remember(question, answer)
            return answer
        return await self.run_in_executor(None, resolve, host, port, family, type, proto, flags)

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """Name a host and a service from an address, as `socket.getnameinfo` does.

        Args:
            sockaddr: An address as a socket has it.
            flags: ``socket.NI_*``.

        Returns:
            The host and the service, both as strings.

        Raises:
            OSError: The address is none, or has no name and one was asked for.

        A checkpoint unless the flags ask for numbers only.
        """
        name: _Namer = socket.getnameinfo
        if flags & socket.NI_NUMERICHOST and flags & socket.NI_NUMERICSERV:
            return name(sockaddr, flags)
        return await self.run_in_executor(None, name, sockaddr, flags)

    def _resolves_by_itself(self) -> bool:
        """Whether nobody looks on: debug mode, or somebody who has put another function into the socket module."""
        return not self._debug and socket.getaddrinfo is _getaddrinfo

    def _getaddrinfo_debug(
        self, host: object, port: object, family: int, type: int, proto: int, flags: int
    ) -> list[Any]:
        """Resolve, and log how long it took. Runs on a thread of the executor when there is a look-up."""
        question = f"{host}:{port!r}"
        for name, value in (("family", family), ("type", type), ("proto", proto), ("flags", flags)):
            if value:
                question += f", {name}={value!r}"
        logger.debug("Get address info %s", question)
        began = self.time()
        answer = socket.getaddrinfo(host, port, family, type, proto, flags)  # type: ignore[arg-type]  # checked there
        seconds = self.time() - began
        report = logger.info if seconds >= self.slow_callback_duration else logger.debug
        report("Getting address info %s took %.3fms: %r", question, seconds * 1e3, answer)
        return answer

    async def _ensure_resolved(
        self,
        address: tuple[Any, ...],
        *,
        family: int = 0,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        flags: int = 0,
        loop: object = None,
    ) -> AddressInfos:
        """Return the addresses behind ``(host, port, ...)``, asking ``self.getaddrinfo`` only about names.

        That a literal does not pass through `getaddrinfo` is asyncio's rule, and shows in two ways: code that
        replaces the method is not asked, and a host is handed on as it was written.

        Raises:
            OSError: As `getaddrinfo` has it.

        A checkpoint when there is a look-up.
        """
        info = _as_written(address, family, type, proto)
        if info is not None:
            return [info]
        host, port = address[:2]
        return await self.getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)


_getaddrinfo = socket.getaddrinfo

_LASTING = socket.AI_PASSIVE | socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
"""Flags under which a literal has the same answer whatever becomes of the machine's interfaces."""

_answers: dict[tuple[object, ...], list[Any]] = {}
"""What the socket module has said of literals. It says the same each time, at the price of 10 µs, most of them for making
numbers into members of enumerations (benches: getaddrinfo, 2026-11)."""


def _remember(question: tuple[object, ...], answer: list[Any]) -> None:
    if len(_answers) >= 256:
        _answers.clear()  # Whoever asks about so many has no favourites.
    _answers[question] = answer.copy()


def _needs_no_lookup(host: object, port: object, flags: int) -> bool:
    """Whether the socket module can answer from its arguments alone."""
    if not (port is None or isinstance(port, int) or _is_decimal(port)):
        # A service name is looked up too, in a file at best. Anything else is refused by the socket module.
        return False
    if host is None or flags & socket.AI_NUMERICHOST:
        return True
    if isinstance(host, bytes):
        try:
            host = host.decode("ascii")
        except UnicodeDecodeError:
            return False
    if not isinstance(host, str):
        return False
    # inet_pton() knows no zone ids on Linux: "fe80::1%eth0" is a literal if what stands before the sign is.
    bare, zone, _ = host.partition("%")
    return _is_literal(bare, socket.AF_INET6) or (not zone and _is_literal(bare, socket.AF_INET))


def _as_written(address: tuple[Any, ...], family: int, kind: int, proto: int) -> AddressInfo | None:
    """Return what `getaddrinfo` would say of a literal, with the host as it stands, or None for anything else."""
    if proto not in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    if kind == socket.SOCK_STREAM:
        proto = socket.IPPROTO_TCP
    elif kind == socket.SOCK_DGRAM:
        proto = socket.IPPROTO_UDP
    else:
        return None
    host, port = address[:2]
    if isinstance(host, bytes):
        host = host.decode("idna")
    if not isinstance(host, str):
        return None
    if port is None or (isinstance(port, (str, bytes)) and not port):
        port = 0
    try:
        port = int(port)
    except (TypeError, ValueError):
        return None
    if "\0" in host:
        # The socket module would look up what stands before it, which is not what was asked for.
        raise ValueError("embedded null character")
    if family in (socket.AF_UNSPEC, socket.AF_INET) and _is_literal(host, socket.AF_INET):
        return socket.AF_INET, kind, proto, "", (host, port)
    if family in (socket.AF_UNSPEC, socket.AF_INET6) and _is_literal(host, socket.AF_INET6):
        flow, scope = (*address[2:], 0, 0)[:2]
        return socket.AF_INET6, kind, proto, "", (host, port, flow, scope)
    return None


def _is_literal(host: str, family: int) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        # ValueError: a NUL inside, or letters that no address has.
        return False
    return True


def _is_decimal(port: object) -> bool:
    return isinstance(port, (str, bytes)) and port.isdigit() and port.isascii()
