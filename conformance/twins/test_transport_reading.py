"""Stream transports: what arrives, and how one stops it from arriving."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from .support import BufferedRecorder, Recorder, Run, connect_pair, eventually, turns

FAMILIES = pytest.mark.parametrize("family", ["tcp", "unix"])


class Pausing(Recorder):
    """Pauses at the first data it gets."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.pause_reading()


@FAMILIES
def test_data_is_bytes(run: Run, family: str) -> None:
    class Typed(Recorder):
        def data_received(self, data: bytes) -> None:
            assert type(data) is bytes
            super().data_received(data)

    async def main() -> None:
        transport, protocol, peer = await connect_pair(family, Typed)
        with peer:
            peer.send(b"hello")
            assert await protocol.received(5) == b"hello"
            transport.close()
            await protocol.lost

    run(main)


@FAMILIES
@pytest.mark.parametrize("size", [1, 4096, 65536, 262_144, 262_145, 3_000_000])
def test_data_of_any_size_arrives_whole(run: Run, family: str, size: int) -> None:
    payload = (bytes(range(251)) * (size // 251 + 1))[:size]

    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        with peer:
            sending = asyncio.create_task(asyncio.to_thread(peer.sendall, payload))
            assert await protocol.received(size) == payload
            await sending
            transport.close()
            await protocol.lost

    run(main)


@FAMILIES
def test_large_and_small_messages_take_turns(run: Run, family: str) -> None:
    """Each object is as large as its bytes, however much room there was for them."""
    sizes: list[tuple[int, int]] = []

    class Sizes(Recorder):
        def data_received(self, data: bytes) -> None:
            sizes.append((len(data), sys.getsizeof(data)))
            super().data_received(data)

    async def main() -> None:
        transport, protocol, peer = await connect_pair(family, Sizes)
        expected = b""
        with peer:
            for number, size in enumerate((100_000, 5, 40_000, 300_000, 1, 262_144, 16_384, 16_383, 10)):
                message = bytes([65 + number]) * size
                expected += message
                sending = asyncio.create_task(asyncio.to_thread(peer.sendall, message))
                assert await protocol.received(len(expected)) == expected
                await sending
            transport.close()
            await protocol.lost
        assert {whole - length for length, whole in sizes} == {sys.getsizeof(b"")}

    run(main)


def test_many_messages_arrive_in_order(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        with peer:
            for number in range(500):
                peer.send(f"{number};".encode())
                if number % 7 == 0:
                    await asyncio.sleep(0)
            expected = "".join(f"{number};" for number in range(500)).encode()
            assert await protocol.received(len(expected)) == expected
            transport.close()
            await protocol.lost

    run(main)


@FAMILIES
def test_pausing_stops_the_rest_of_the_burst(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family, Pausing)
        with peer:
            sending = asyncio.create_task(asyncio.to_thread(peer.sendall, bytes(2_000_000)))
            await eventually(lambda: protocol.data)
            got = len(protocol.data)
            await asyncio.sleep(0.005)
            assert protocol.events == ["made", "data"]
            assert len(protocol.data) == got
            while len(protocol.data) < 2_000_000:
                before = protocol.events.count("data")
                transport.resume_reading()
                await eventually(lambda before=before: protocol.events.count("data") == before + 1)  # type: ignore[misc]
                await turns()
                assert protocol.events.count("data") == before + 1
            await sending
            transport.close()
            await protocol.lost

    run(main)


@FAMILIES
def test_a_paused_transport_does_not_notice_the_end(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        transport.pause_reading()
        peer.send(b"last words")
        peer.close()
        await asyncio.sleep(0.005)
        assert protocol.events == ["made"]
        transport.resume_reading()
        assert await protocol.lost is None
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert protocol.data == b"last words"

    run(main)


def test_pausing_in_connection_made(run: Run) -> None:
    class Paused(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transport.pause_reading()  # type: ignore[attr-defined]

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", Paused)
        with peer:
            peer.send(b"held back")
            await asyncio.sleep(0.005)
            assert protocol.events == ["made"]
            transport.resume_reading()
            assert await protocol.received(9) == b"held back"
            transport.close()
            await protocol.lost

    run(main)


def test_pausing_right_after_the_connection(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        transport.pause_reading()
        with peer:
            peer.send(b"held back")
            await asyncio.sleep(0.005)
            assert protocol.events == ["made"]
            transport.resume_reading()
            await protocol.received(9)
            transport.close()
            await protocol.lost

    run(main)


def test_is_reading_and_repetition(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        with peer:
            assert transport.is_reading() is True
            transport.resume_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert transport.is_reading() is False
            transport.resume_reading()
            assert transport.is_reading() is True
            transport.resume_reading()
            peer.send(b"x")
            await protocol.received(1)
            transport.close()
            assert transport.is_reading() is False
            transport.pause_reading()
            transport.resume_reading()
            assert transport.is_reading() is False
            await protocol.lost
            transport.pause_reading()
            transport.resume_reading()

    run(main)


def test_pause_and_resume_in_one_turn_is_nothing(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        with peer:
            peer.send(b"once")
            for _ in range(10):
                transport.pause_reading()
                transport.resume_reading()
            assert await protocol.received(4) == b"once"
            await turns()
            assert protocol.data == b"once"
            transport.close()
            await protocol.lost

    run(main)


def test_closing_while_paused(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        with peer:
            transport.pause_reading()
            peer.send(b"unread")
            transport.close()
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]

    run(main)


@FAMILIES
def test_another_protocol_gets_the_next_data(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        with peer:
            assert transport.get_protocol() is protocol
            peer.send(b"first")
            await protocol.received(5)
            other = Recorder()
            transport.set_protocol(other)
            assert transport.get_protocol() is other
            peer.send(b"second")
            assert await other.received(6) == b"second"
            assert protocol.data == b"first"
            transport.close()
            await other.lost
            assert other.events == ["data", "lost"]
            assert protocol.events == ["made", "data"]

    run(main)


@FAMILIES
def test_from_protocol_to_buffered_and_back(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        with peer:
            peer.send(b"plain")
            await protocol.received(5)
            buffered = BufferedRecorder()
            transport.set_protocol(buffered)
            peer.send(b"buffered")
            assert await buffered.received(8) == b"buffered"
            again = Recorder()
            transport.set_protocol(again)
            peer.send(b"again")
            assert await again.received(5) == b"again"
            peer.close()
            assert await again.lost is None
            assert protocol.data == b"plain"
            assert buffered.data == b"buffered"

    run(main)


def test_changing_the_protocol_in_data_received(run: Run) -> None:
    class Upgrading(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.next = BufferedRecorder(16)
            self.transport.set_protocol(self.next)

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", Upgrading)
        with peer:
            peer.send(b"upgrade")
            await protocol.received(7)
            peer.send(b"x" * 100)
            assert await protocol.next.received(100) == b"x" * 100
            transport.close()
            await protocol.next.lost
            assert protocol.events == ["made", "data"]

    run(main)


def test_half_closed_by_the_peer_and_answered(run: Run) -> None:
    class Answering(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            self.transport.write(b"answer")
            self.transport.close()
            return True

    async def main() -> None:
        _, protocol, peer = await connect_pair("tcp", Answering)
        with peer:
            peer.send(b"question")
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert await asyncio.to_thread(peer.recv, 100) == b"answer"
            assert await asyncio.to_thread(peer.recv, 100) == b""

    run(main)
