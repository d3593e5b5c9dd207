"""Stream transports: what is written arrives, once and in order, and the protocol is told when to hold back."""

from __future__ import annotations

import array
import asyncio
import socket

import pytest

from .conftest import Ledger
from .support import (
    Recorder,
    Run,
    connect_pair,
    eventually,
    receive_exactly,
    receive_in_turns,
    reset,
    small_buffers,
    turns,
)

FAMILIES = pytest.mark.parametrize("family", ["tcp", "unix"])
BIG = bytes(range(256)) * 8192


async def finish(transport: asyncio.Transport, protocol: Recorder, peer: socket.socket) -> None:
    transport.close()
    assert await protocol.lost is None
    peer.close()


@FAMILIES
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_bytes(run: Run, family: str, kind: type) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        assert transport.write(kind(b"data")) is None
        assert await receive_exactly(peer, 4) == b"data"
        transport.write(kind(b""))
        transport.write(kind(b"more"))
        assert await receive_exactly(peer, 4) == b"more"
        await finish(transport, protocol, peer)

    run(main)


def test_views_that_are_not_of_bytes(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        numbers = array.array("I", range(100))
        transport.write(memoryview(numbers))
        assert await receive_exactly(peer, 400) == numbers.tobytes()
        transport.write(memoryview(bytes(range(100))).cast("B", (10, 10)))
        assert await receive_exactly(peer, 100) == bytes(range(100))
        transport.write(memoryview(b"0123456789")[2:8])
        assert await receive_exactly(peer, 6) == b"234567"
        await finish(transport, protocol, peer)

    run(main)


@pytest.mark.parametrize("bad", ["text", 5, None, [b"list"], array.array("b", [1])], ids=lambda bad: type(bad).__name__)
def test_what_is_no_bytes_is_refused(run: Run, bad: object) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        with pytest.raises(
            TypeError, match=r"data argument must be a bytes(-like|, bytearray, or memoryview) object, not "
        ):
            transport.write(bad)  # type: ignore[arg-type]
        transport.write(b"unharmed")
        assert await receive_exactly(peer, 8) == b"unharmed"
        await finish(transport, protocol, peer)

    run(main)


@FAMILIES
def test_much_at_once(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        small_buffers(transport.get_extra_info("socket"))
        transport.write(BIG)
        assert transport.get_write_buffer_size() > 0
        assert await receive_exactly(peer, len(BIG)) == BIG
        await eventually(lambda: transport.get_write_buffer_size() == 0)
        await finish(transport, protocol, peer)

    run(main)


@FAMILIES
def test_much_in_small_pieces(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        receiving = asyncio.create_task(receive_exactly(peer, len(BIG)))
        for start in range(0, len(BIG), 1000):
            transport.write(BIG[start : start + 1000])
            if start % 50_000 == 0:
                await asyncio.sleep(0)
        assert await receiving == BIG
        await finish(transport, protocol, peer)

    run(main)


def test_thousands_of_pieces_behind_a_full_socket(run: Run) -> None:
    # More pieces than one writev takes.
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        small_buffers(transport.get_extra_info("socket"))
        pieces = [f"{number:07d};".encode() for number in range(5000)]
        for piece in pieces:
            transport.write(piece)
        assert await receive_exactly(peer, 40_000) == b"".join(pieces)
        await finish(transport, protocol, peer)

    run(main)


@FAMILIES
def test_writelines(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        transport.writelines([b"one ", bytearray(b"two "), memoryview(b"three")])
        assert await receive_exactly(peer, 13) == b"one two three"
        transport.writelines(iter([b"from ", b"an ", b"iterator"]))
        assert await receive_exactly(peer, 16) == b"from an iterator"
        transport.writelines([])
        transport.writelines([b""])
        lines = [bytes([number % 256]) * 1000 for number in range(3000)]
        transport.writelines(lines)
        assert await receive_exactly(peer, 3_000_000) == b"".join(lines)
        await finish(transport, protocol, peer)

    run(main)


def test_write_and_writelines_keep_their_order(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.write(BIG)
        transport.writelines([b"x", b"y"])
        transport.write(b"z")
        assert (await receive_exactly(peer, len(BIG) + 3))[-3:] == b"xyz"
        await finish(transport, protocol, peer)

    run(main)


def test_bytes_are_gone_before_the_next_callback(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        peer.setblocking(False)
        seen: list[bytes] = []
        loop = asyncio.get_running_loop()
        loop.call_soon(transport.write, b"hello")
        loop.call_soon(lambda: seen.append(peer.recv(10)))
        await turns(2)
        assert seen == [b"hello"]
        await finish(transport, protocol, peer)

    run(main)


def test_an_answer_in_data_received_goes_out_without_another_event(run: Run) -> None:
    class Echo(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", Echo)
        for number in range(50):
            peer.send(bytes([number]))
            assert await receive_exactly(peer, 1) == bytes([number])
        await finish(transport, protocol, peer)

    run(main)


def test_write_in_connection_made(run: Run) -> None:
    class Greeting(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transport.write(b"welcome")  # type: ignore[attr-defined]

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", Greeting)
        assert await receive_exactly(peer, 7) == b"welcome"
        await finish(transport, protocol, peer)

    run(main)


def test_the_limits(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=100)
        assert transport.get_write_buffer_limits() == (100, 400)
        transport.set_write_buffer_limits(1000, 1000)
        assert transport.get_write_buffer_limits() == (1000, 1000)
        transport.set_write_buffer_limits(0)
        assert transport.get_write_buffer_limits() == (0, 0)
        with pytest.raises(ValueError, match=r"high \(10\) must be >= low \(20\) must be >= 0"):
            transport.set_write_buffer_limits(10, 20)
        with pytest.raises(ValueError, match="must be >= 0"):
            transport.set_write_buffer_limits(10, -1)
        transport.set_write_buffer_limits()
        assert transport.get_write_buffer_limits() == (16384, 65536)
        await finish(transport, protocol, peer)

    run(main)


@FAMILIES
def test_pause_and_resume_are_told_once_each(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        small_buffers(transport.get_extra_info("socket"))
        for _ in range(3):
            transport.write(BIG)
        assert protocol.events == ["made", "pause"]
        await receive_in_turns(peer, 3 * len(BIG))
        await eventually(lambda: "resume" in protocol.events)
        assert protocol.events == ["made", "pause", "resume"]
        transport.write(BIG)
        await receive_in_turns(peer, len(BIG))
        await eventually(lambda: protocol.events.count("resume") == 2)
        assert protocol.events == ["made", "pause", "resume", "pause", "resume"]
        await finish(transport, protocol, peer)

    run(main)


def test_resume_comes_at_the_low_mark(run: Run) -> None:
    class Measuring(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.size_at_resume = self.transport.get_write_buffer_size()

    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix", Measuring)
        small_buffers(transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(high=200_000, low=100_000)
        transport.write(bytes(500_000))
        assert protocol.events == ["made", "pause"]
        assert transport.get_write_buffer_size() > 400_000
        await receive_in_turns(peer, 500_000)
        await eventually(lambda: "resume" in protocol.events)
        assert protocol.size_at_resume <= 100_000
        await finish(transport, protocol, peer)

    run(main)


def test_nothing_is_told_below_the_high_mark(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.set_write_buffer_limits(high=10_000_000)
        transport.write(BIG)
        await receive_in_turns(peer, len(BIG))
        await turns()
        assert protocol.events == ["made"]
        await finish(transport, protocol, peer)

    run(main)


def test_with_no_limit_the_first_byte_that_waits_pauses(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.set_write_buffer_limits(0)
        transport.write(b"goes at once")
        await receive_in_turns(peer, 12)
        assert protocol.events == ["made"]
        transport.write(BIG)
        assert protocol.events == ["made", "pause"]
        await receive_in_turns(peer, len(BIG))
        await eventually(lambda: protocol.events[-1] == "resume")
        await finish(transport, protocol, peer)

    run(main)


def test_new_limits_right_after_a_write(run: Run) -> None:
    # The bytes could leave at once, so they count for nothing; who is paused here and never resumed, waits for ever.
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.write(b"small")
        transport.set_write_buffer_limits(0)
        await turns()
        assert protocol.events == ["made"]
        await receive_in_turns(peer, 5)
        await finish(transport, protocol, peer)

    run(main)


def test_lower_limits_pause_at_once_and_higher_ones_resume_later(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.set_write_buffer_limits(high=10_000_000)
        transport.write(BIG)
        assert protocol.events == ["made"]
        transport.set_write_buffer_limits(high=1000)
        assert protocol.events == ["made", "pause"]
        transport.set_write_buffer_limits(high=10_000_000)
        assert protocol.events == ["made", "pause"]
        await receive_in_turns(peer, len(BIG))
        await eventually(lambda: protocol.events == ["made", "pause", "resume"])
        await finish(transport, protocol, peer)

    run(main)


def test_writing_in_resume_writing(run: Run) -> None:
    class Refilling(Recorder):
        left = 3

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.left:
                self.left -= 1
                self.transport.write(bytes(1 << 20))

    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix", Refilling)
        transport.write(bytes(1 << 20))
        await receive_in_turns(peer, 4 << 20)
        await eventually(lambda: protocol.events.count("resume") == 4)
        assert protocol.events == ["made"] + ["pause", "resume"] * 4
        await finish(transport, protocol, peer)

    run(main)


@FAMILIES
def test_write_eof_half_closes(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        assert transport.can_write_eof() is True
        transport.write(b"last")
        transport.write_eof()
        assert await receive_exactly(peer, 100) == b"last"
        assert not transport.is_closing()
        peer.send(b"answer")
        assert await protocol.received(6) == b"answer"
        transport.write_eof()  # again is nothing
        with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
            transport.write(b"more")
        with pytest.raises(RuntimeError, match=r"Cannot call write(lines)?\(\) after write_eof\(\)"):
            transport.writelines([b"more"])
        peer.close()
        assert await protocol.lost is None

    run(main)


@FAMILIES
def test_write_eof_waits_for_what_is_left(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        transport.write(BIG)
        transport.write_eof()
        assert await receive_exactly(peer, len(BIG) + 1) == BIG
        await finish(transport, protocol, peer)

    run(main)


@FAMILIES
def test_close_sends_what_is_left(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        small_buffers(transport.get_extra_info("socket"))
        transport.write(BIG)
        transport.close()
        assert not protocol.lost.done()
        assert await receive_exactly(peer, len(BIG) + 1) == BIG
        assert await protocol.lost is None
        peer.close()

    run(main)


def test_abort_drops_what_is_left(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.write(BIG)
        transport.abort()
        assert await protocol.lost is None
        assert len(await receive_exactly(peer, len(BIG))) < len(BIG)
        peer.close()

    run(main)


def test_write_then_close_in_one_callback(run: Run) -> None:
    class OneShot(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"head ")
            self.transport.write(b"body")
            self.transport.close()

    async def main() -> None:
        _, protocol, peer = await connect_pair("tcp", OneShot)
        peer.send(b"request")
        assert await receive_exactly(peer, 100) == b"head body"
        assert await protocol.lost is None
        peer.close()

    run(main)


def test_write_after_close_warns_from_the_fifth_on(run: Run, ledger: Ledger) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        transport.close()
        await protocol.lost
        for _ in range(3):
            transport.write(b"to nobody")
        assert not ledger.take_logs()
        for _ in range(7):
            transport.write(b"to nobody")
        records = ledger.take_logs("socket.send() raised exception.")
        assert len(records) == 6
        peer.close()

    run(main)


def test_writing_to_a_peer_that_has_gone(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.pause_reading()
        peer.close()
        transport.write(b"to nobody")
        assert isinstance(await protocol.lost, (BrokenPipeError, ConnectionResetError))
        assert transport.is_closing()
        transport.write(b"ignored")
        transport.write_eof()

    run(main)


def test_a_reset_with_bytes_left(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        small_buffers(transport.get_extra_info("socket"))
        transport.write(bytes(1 << 23))
        await turns()
        reset(peer)
        assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
        assert transport.get_write_buffer_size() == 0

    run(main)


def test_expected_errors_are_not_told_to_the_exception_handler(run: Run) -> None:
    async def main() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        for close in (reset, socket.socket.close):
            transport, protocol, peer = await connect_pair("tcp")
            transport.write(bytes(100))
            await turns()
            close(peer)
            transport.write(bytes(100))
            await protocol.lost
        assert told == []

    run(main)


def test_a_slow_reader_gets_everything(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        small_buffers(transport.get_extra_info("socket"))
        transport.write(BIG[:200_000])
        transport.close()
        got = bytearray()
        peer.setblocking(False)
        while len(got) < 200_000:
            await asyncio.sleep(0)
            try:
                got += peer.recv(1777)
            except BlockingIOError:
                continue
        assert got == BIG[:200_000]
        assert await protocol.lost is None
        peer.close()

    run(main)


def test_an_echo_in_both_directions_at_once(run: Run) -> None:
    class Echo(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def pause_writing(self) -> None:
            self.transport.pause_reading()

        def resume_writing(self) -> None:
            self.transport.resume_reading()

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp", Echo)
        sending = asyncio.create_task(asyncio.to_thread(peer.sendall, BIG))
        assert await receive_exactly(peer, len(BIG)) == BIG
        await sending
        await finish(transport, protocol, peer)

    run(main)


@FAMILIES
def test_whoever_waits_to_write_is_told_of_the_loss_and_not_to_go_on(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        small_buffers(transport.get_extra_info("socket"))
        transport.pause_reading()  # so that the write side alone meets the end
        transport.write(b"x" * 4_000_000)
        assert protocol.events == ["made", "pause"]
        reset(peer)
        assert isinstance(await protocol.lost, OSError)
        assert protocol.events == ["made", "pause", "lost"]

    run(main)
