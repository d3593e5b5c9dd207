"""Where tepal does the safe or the fast thing and asyncio does not: what was written is what goes out, in few packets."""

from __future__ import annotations

import array
import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


async def connected(family: str) -> tuple[Any, socket.socket]:
    """A transport, and the raw socket at its other end."""
    loop = asyncio.get_running_loop()
    if family == "unix":
        ours, peer = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    peer.setblocking(False)
    return transport, peer


async def receive(peer: socket.socket, count: int) -> bytes:
    loop, got = asyncio.get_running_loop(), bytearray()
    while len(got) < count:
        data = await loop.sock_recv(peer, 1 << 20)
        if not data:
            break
        got += data
    return bytes(got)


def segments_received(peer: socket.socket) -> int:
    """How many segments with data the kernel has seen arrive: `tcpi_data_segs_in` of `struct tcp_info`."""
    info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("I", info, 152)[0])


async def finish(transport: Any, peer: socket.socket) -> None:
    transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    peer.close()


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("size", [100, 10_000, 3_000_000])
def test_a_bytearray_changed_afterwards_goes_out_unchanged(run: Run, family: str, size: int) -> None:
    async def main() -> None:
        transport, peer = await connected(family)
        data = bytearray(b"a" * size)
        transport.write(data)
        data[:] = b"b" * size
        transport.write(memoryview(data))
        data[:] = b"c" * size
        transport.writelines([data, memoryview(data)])
        data[:] = b"d" * size
        assert await receive(peer, 4 * size) == b"a" * size + b"b" * size + b"c" * size * 2
        await finish(transport, peer)

    run(main)


def test_a_bytearray_can_be_resized_right_after_the_write(run: Run) -> None:
    async def main() -> None:
        transport, peer = await connected("unix")
        data = bytearray(3_000_000)
        transport.write(data)
        data.clear()  # a BufferError while somebody exports it
        assert len(await receive(peer, 3_000_000)) == 3_000_000
        await finish(transport, peer)

    run(main)


def test_a_view_of_wide_items_goes_out_whole(run: Run) -> None:
    async def main() -> None:
        transport, peer = await connected("unix")
        numbers = array.array("Q", range(300_000))
        transport.write(memoryview(numbers))
        assert await receive(peer, 2_400_000) == numbers.tobytes()
        transport.write(memoryview(bytes(range(256)) * 10_000).cast("B", (1000, 2560)))
        assert await receive(peer, 2_560_000) == bytes(range(256)) * 10_000
        await finish(transport, peer)

    run(main)


def test_two_writes_of_one_callback_are_one_packet(run: Run) -> None:
    async def main() -> None:
        transport, peer = await connected("tcp")
        for number in range(10):
            transport.write(b"head ")
            transport.write(b"body")
            await asyncio.sleep(0)
            assert await receive(peer, 9) == b"head body"
            assert segments_received(peer) == number + 1
        await finish(transport, peer)

    run(main)


def test_two_writes_of_data_received_are_one_packet(run: Run) -> None:
    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"head ")
            self.transport.writelines([b"body", b" and "])
            self.transport.write(b"tail")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answering, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            peer.setblocking(False)
            for number in range(10):
                await loop.sock_sendall(peer, b"question")
                assert await receive(peer, 18) == b"head body and tail"
                assert segments_received(peer) == number + 1
        server.close()

    run(main)


def test_writes_of_two_callbacks_do_not_wait_for_each_other(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, peer = await connected("unix")
        seen: list[bytes] = []
        loop.call_soon(transport.write, b"first")
        loop.call_soon(lambda: seen.append(peer.recv(100)))
        loop.call_soon(transport.write, b"second")
        loop.call_soon(lambda: seen.append(peer.recv(100)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen == [b"first", b"second"]
        await finish(transport, peer)

    run(main)


def test_what_is_gathered_goes_out_when_the_callback_raises(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        transport, peer = await connected("unix")

        def failing() -> None:
            transport.write(b"before the error")
            raise ValueError

        loop.call_soon(failing)
        assert await receive(peer, 16) == b"before the error"
        await finish(transport, peer)

    run(main)


def test_what_is_gathered_goes_out_when_the_program_ends() -> None:
    import tepal

    loop = tepal.new_event_loop()
    kept: list[Any] = []

    async def main() -> None:
        transport, peer = await connected("unix")
        kept.extend([transport, peer])
        transport.write(b"last ")
        transport.write(b"words")

    loop.run_until_complete(main())
    assert kept[1].recv(100) == b"last words"
    kept[0].abort()
    loop.run_until_complete(asyncio.sleep(0))
    kept[1].close()
    loop.close()
