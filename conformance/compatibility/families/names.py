"""Names and addresses. What `socket.getaddrinfo` says is right."""

from __future__ import annotations

import socket
from typing import Any

from ..probes import probe


async def same(loop: Any, *args: Any, **keywords: Any) -> str:
    """Whether the loop answers, or refuses, as the socket module does; if not, how."""
    try:
        expected: object = socket.getaddrinfo(*args, **keywords)
    except Exception as error:  # noqa: BLE001  # that is the answer
        expected = type(error).__name__
    try:
        answer: object = await loop.getaddrinfo(*args, **keywords)
    except Exception as error:  # noqa: BLE001  # that is the answer
        answer = type(error).__name__
    return "as the socket module" if answer == expected else f"{args} {keywords}: {answer} instead of {expected}"


@probe("getaddrinfo", "host")
async def host(loop: Any) -> object:
    answers: set[str] = set()
    hosts = ("127.0.0.1", "::1", "localhost", b"127.0.0.1", "", None, "127.1", "0x7f.1", "fe80::1%lo", "fe80::1%1")
    for name in (*hosts, "::ffff:1.2.3.4", "no such name", "300.1.1.1", "::1::", "127.0.0.1\0", "fe80::1%nowhere"):
        answers.add(await same(loop, name, 80))
    return sorted(answers)


@probe("getaddrinfo", "port")
async def port(loop: Any) -> object:
    answers: set[str] = set()
    for number in (0, 80, "80", b"80", "http", b"http", None, "", "no such service", 70000, -1, " 80", "٣"):
        answers.add(await same(loop, "127.0.0.1", number))
    return sorted(answers)


@probe("getaddrinfo", "family")
async def family(loop: Any) -> object:
    answers: set[str] = set()
    for kind in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        for name in ("127.0.0.1", "::1", "localhost"):
            answers.add(await same(loop, name, 80, family=kind))
    return sorted(answers)


@probe("getaddrinfo", "type")
async def kind(loop: Any) -> object:
    answers: set[str] = set()
    for type_ in (0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 99):
        for name in ("127.0.0.1", "::1"):
            answers.add(await same(loop, name, 80, type=type_))
            answers.add(await same(loop, name, "domain", type=type_))
    return sorted(answers)


@probe("getaddrinfo", "proto")
async def proto(loop: Any) -> object:
    answers: set[str] = set()
    for protocol in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP, 255):
        for type_ in (0, socket.SOCK_STREAM, socket.SOCK_DGRAM):
            answers.add(await same(loop, "127.0.0.1", 80, proto=protocol, type=type_))
    return sorted(answers)


@probe("getaddrinfo", "flags")
async def flags(loop: Any) -> object:
    answers: set[str] = set()
    flag_sets = (socket.AI_PASSIVE, socket.AI_NUMERICHOST, socket.AI_NUMERICSERV, socket.AI_CANONNAME)
    for flag in (*flag_sets, socket.AI_V4MAPPED, socket.AI_ADDRCONFIG, 1 << 30):
        for name in ("127.0.0.1", "::1", None, "localhost"):
            for service in (80, "http", None):
                answers.add(await same(loop, name, service, flags=flag))
    return sorted(answers)


@probe("getnameinfo", "sockaddr")
async def nameinfo(loop: Any) -> object:
    seen = []
    for address in (
        ("127.0.0.1", 80),
        ("::1", 80),
        ("fe80::1%lo", 80, 0, 1),
        ("127.0.0.1",),
        "127.0.0.1",
        ("name", 80),
    ):
        try:
            seen.append(await loop.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))
        except (OSError, TypeError, ValueError) as error:
            seen.append(type(error).__name__)
    return seen


@probe("getnameinfo", "flags")
async def nameinfo_flags(loop: Any) -> object:
    flag_sets = (socket.NI_NUMERICHOST, socket.NI_NUMERICHOST | socket.NI_DGRAM, socket.NI_NUMERICSERV)
    return [await loop.getnameinfo(("127.0.0.1", 80), flags) for flags in flag_sets]
