"""Connecting a socket to one of several addresses.

A name may stand for many addresses, some of which do not answer. They are tried in turn, or, with a delay, in a
staggered race ("happy eyeballs", RFC 8305). What each attempt failed with is kept, because the caller wants to
hear of all of them when none has succeeded.

An exception refers to its traceback, that to the frames, and these to their locals: a list of exceptions held by a
local variable of one of these frames is a cycle which only the collector would find. So the lists are let go of
on the way out.
"""

from __future__ import annotations

import itertools
import socket
from asyncio import staggered
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

from ._protocols import AddressInfo, AddressInfos, LoopSurface

_Failures: TypeAlias = list[list[OSError]]
"""What went wrong, one list for each attempt, in the order in which they were begun."""


async def connected_socket(
    loop: LoopSurface,
    addresses: AddressInfos,
    local_addresses: AddressInfos | None,
    *,
    delay: float | None,
    all_errors: bool,
) -> socket.socket:
    """Return a socket that is connected to the first address that answers.

    Args:
        loop: The running loop.
        addresses: Where to connect to, in order of preference.
        local_addresses: Where to connect from; the first of the right family that can be bound is used.
        delay: Seconds to wait for one attempt before the next is begun beside it; None waits until it has failed.
        all_errors: Raise an ExceptionGroup of all failures.

    Raises:
        OSError: No address could be connected to.
        ExceptionGroup: The same, with `all_errors`.

    A checkpoint.
    """
    failures: _Failures = []
    try:
        if delay is None:
            sock = await _first_of(loop, addresses, local_addresses, failures)
        else:
            attempts = (_attempt(loop, address, local_addresses, failures) for address in addresses)
            # The other results hold the exceptions: no name may be given to them.
            sock = (await staggered.staggered_race(attempts, delay))[0]
        if sock is None:
            raise _summed_up(list(itertools.chain.from_iterable(failures)), all_errors=all_errors)
        return sock
    finally:
        # Emptied and not only let go of: the race's frames, which the exceptions refer to, hold the attempts.
        failures.clear()
        del failures


def interleaved(addresses: AddressInfos, first_family_count: int) -> AddressInfos:
    """Reorder addresses so that the families take turns.

    Args:
        addresses: Addresses in order of preference.
        first_family_count: How many of the first family go ahead of the first of another one.
    """
    by_family: dict[int, list[AddressInfo]] = {}
    for info in addresses:
        by_family.setdefault(info[0], []).append(info)
    queues = list(by_family.values())
    ahead = max(first_family_count - 1, 0)
    first = queues[0][:ahead]
    del queues[0][:ahead]
    rounds = itertools.zip_longest(*queues)
    return first + [info for one_round in rounds for info in one_round if info is not None]


async def _first_of(
    loop: LoopSurface, addresses: AddressInfos, local_addresses: AddressInfos | None, failures: _Failures
) -> socket.socket | None:
    try:
        for address in addresses:
            with suppress(OSError):
                return await _connect(loop, address, local_addresses, failures)
        return None
    finally:
        del failures


def _attempt(
    loop: LoopSurface, address: AddressInfo, local_addresses: AddressInfos | None, failures: _Failures
) -> Callable[[], Coroutine[Any, Any, socket.socket]]:
    return lambda: _connect(loop, address, local_addresses, failures)


async def _connect(
    loop: LoopSurface, info: AddressInfo, local_addresses: AddressInfos | None, failures: _Failures
) -> socket.socket:
    """Connect to one address. An OSError is both raised and noted in `failures`."""
    noted: list[OSError] = []
    failures.append(noted)
    family, kind, protocol, _, address = info
    sock = None
    try:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        if local_addresses is not None:
            _bind_one(sock, family, local_addresses, noted)
        await loop.sock_connect(sock, address)
    except BaseException as error:
        if isinstance(error, OSError):
            noted.append(error)
        if sock is not None:
            # Closing may report an old failure of the connection; the one at hand is the one that matters.
            with suppress(OSError):
                sock.close()
        raise
    else:
        return sock
    finally:
        del failures, noted


def _bind_one(sock: socket.socket, family: int, local_addresses: AddressInfos, noted: list[OSError]) -> None:
    """Bind to the first local address of a family that can be had."""
    failure = OSError(f"no matching local address with family={family!r} found")
    try:
        for info in local_addresses:
            if info[0] != family:
                continue
            address = info[4]
            try:
                sock.bind(address)
            except OSError as error:
                text = f"error while attempting to bind on address {address!r}: {str(error).lower()}"
                failure = OSError(error.errno, text)
                noted.append(failure)
            else:
                return
        if noted:
            # Whoever catches it notes it again.
            noted.pop()
        raise failure
    finally:
        del failure, noted


def _summed_up(errors: list[OSError], *, all_errors: bool) -> Exception:
    """Return one exception that stands for all the failures."""
    try:
        if all_errors:
            return ExceptionGroup("create_connection failed", errors)
        if not errors:
            # A race in which every attempt was given up without an error of the network.
            return TimeoutError("create_connection failed")
        texts = [str(error) for error in errors]
        if all(text == texts[0] for text in texts):
            return errors[0]
        return OSError("Multiple exceptions: {}".format(", ".join(texts)))
    finally:
        del errors
