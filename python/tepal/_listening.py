"""Binding the sockets of a TCP server: one for each address that its hosts stand for."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import sys
from asyncio.log import logger
from collections.abc import Iterable
from typing import Any

from ._protocols import AddressInfo, AddressInfos, LoopSurface


async def resolved_hosts(
    loop: LoopSurface, hosts: Iterable[str | None], port: int | str | None, *, family: int, flags: int
) -> list[AddressInfo]:
    """Return the addresses of all hosts, each once.

    Args:
        loop: The running loop.
        hosts: Names, literals, or None for all interfaces.
        port: A number or the name of a service.
        family: Keep only addresses of this family.
        flags: ``socket.AI_*``.

    Raises:
        OSError: A host has no address.

    A checkpoint when a host has to be looked up.
    """
    lookups = [_resolved(loop, host, port, family, flags) for host in hosts]
    # One host, as most servers have, needs no task of its own.
    answers = [await lookups[0]] if len(lookups) == 1 else await asyncio.gather(*lookups)
    # A dict and not a set: the sockets come in the order of the hosts, each time the same.
    return list(dict.fromkeys(itertools.chain.from_iterable(answers)))


def bound_sockets(
    addresses: AddressInfos,
    *,
    reuse_address: bool | None,
    reuse_port: bool | None,
    keep_alive: bool | None,
    debug: bool,
) -> list[socket.socket]:
    """Return non-blocking sockets bound to the addresses; none is listening yet.

    An address of a family that this machine does not have is passed over, if another can be bound.

    Args:
        addresses: Where to bind.
        reuse_address: Set SO_REUSEADDR; None means where that is the custom (on Unix).
        reuse_port: Set SO_REUSEPORT, so that other processes may listen there too.
        keep_alive: Set SO_KEEPALIVE, which accepted connections inherit.
        debug: Log the addresses that were passed over.

    Raises:
        OSError: An address cannot be bound (the text names it), or none could be.
        ValueError: `reuse_port` is not supported here.
    """
    if reuse_address is None:
        reuse_address = os.name == "posix" and sys.platform != "cygwin"
    sockets: list[socket.socket] = []
    try:
        for info in addresses:
            sock = _new_socket(info, debug)
            if sock is None:
                continue
            sockets.append(sock)
            _set_options(sock, reuse_address, reuse_port, keep_alive)
            if not _bind(sock, info[4], debug):
                sockets.pop().close()
        if not sockets:
            raise OSError(f"could not bind on any address out of {[info[4] for info in addresses]!r}")
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


async def _resolved(
    loop: LoopSurface, host: str | None, port: int | str | None, family: int, flags: int
) -> AddressInfos:
    infos = await loop._ensure_resolved((host, port), family=family, type=socket.SOCK_STREAM, flags=flags, loop=loop)
    if not infos:
        raise OSError(f"getaddrinfo({host!r}) returned empty list")
    return infos


def _new_socket(info: AddressInfo, debug: bool) -> socket.socket | None:
    family, kind, protocol = info[:3]
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError:
        # The kernel does not know this combination, however the resolver came by it.
        if debug:
            logger.warning(
                "create_server() failed to create socket.socket(%r, %r, %r)", family, kind, protocol, exc_info=True
            )
        return None
    sock.setblocking(False)
    return sock


def _set_options(sock: socket.socket, reuse_address: bool, reuse_port: bool | None, keep_alive: bool | None) -> None:
    if reuse_address:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
    # Linux refuses SO_REUSEPORT to other families since 6.12.9.
    if reuse_port and sock.family in (socket.AF_INET, socket.AF_INET6):
        set_reuse_port(sock)
    if keep_alive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
    if sock.family == socket.AF_INET6 and hasattr(socket, "IPPROTO_IPV6"):
        # Linux would take IPv4 connections on an IPv6 socket, and then refuse the IPv4 socket the same port.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)


def set_reuse_port(sock: socket.socket) -> None:
    """Let other sockets be bound to the same address.

    Args:
        sock: A socket that is not bound yet.

    Raises:
        ValueError: The platform does not know how.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port not supported by socket module")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        raise ValueError(
            "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented."
        ) from None


def _bind(sock: socket.socket, address: Any, debug: bool) -> bool:
    """Bind a socket; return False if its family is switched off on this machine."""
    try:
        sock.bind(address)
    except OSError as error:
        text = f"error while attempting to bind on address {address!r}: {str(error).lower()}"
        if error.errno == errno.EADDRNOTAVAIL:
            if debug:
                logger.warning(text)
            return False
        raise OSError(error.errno, text) from None
    return True
