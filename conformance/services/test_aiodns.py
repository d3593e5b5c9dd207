"""aiodns: c-ares brings sockets of its own, and the loop watches them. The name server is a thread of the test's."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator

import aiodns
import pytest


@pytest.fixture
def port() -> Iterator[int]:
    """A name server that knows `found.test` and nothing else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, args=(sock,))
        thread.start()
        yield sock.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", sock.getsockname())
        thread.join()


def serve(sock: socket.socket) -> None:
    while True:
        query, sender = sock.recvfrom(2000)
        if not query:
            return
        # Behind the header of twelve bytes stands the name, a length before each label, then type and class.
        end = query.index(b"\0", 12) + 5
        name, kind = query[12 : end - 4], struct.unpack(">H", query[end - 4 : end - 2])[0]
        known = name == b"\x05found\x04test\0" and kind == 1
        header = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, int(known), 0, 0)
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 7]) if known else b""
        sock.sendto(header + query[12:end] + answer, sender)


def test_a_name_is_found(port: int) -> None:
    async def main() -> None:
        async with aiodns.DNSResolver(nameservers=["127.0.0.1"], udp_port=port, tcp_port=port) as resolver:
            found = await asyncio.gather(*(resolver.query_dns("found.test", "A") for _ in range(20)))
            assert {result.answer[0].data.addr for result in found} == {"192.0.2.7"}

    asyncio.run(main())


def test_a_name_is_not_found(port: int) -> None:
    async def main() -> None:
        async with aiodns.DNSResolver(nameservers=["127.0.0.1"], udp_port=port, tcp_port=port) as resolver:
            with pytest.raises(aiodns.error.DNSError) as caught:
                await resolver.query_dns("missing.test", "A")
            assert caught.value.args[0] == aiodns.error.ARES_ENOTFOUND

    asyncio.run(main())


def test_a_query_can_be_cancelled() -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.setblocking(False)
            port = silent.getsockname()[1]
            async with aiodns.DNSResolver(nameservers=["127.0.0.1"], udp_port=port, timeout=600) as resolver:
                task = asyncio.ensure_future(resolver.query_dns("found.test", "A"))
                await asyncio.get_running_loop().sock_recv(silent, 2000)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())
