"""Stream transports: in which order a protocol hears of things, and in which turn of the loop."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .support import Recorder, Run, connect_pair, eventually, reset, socket_pair, turns

FAMILIES = pytest.mark.parametrize("family", ["tcp", "unix"])


@FAMILIES
def test_connection_made_comes_before_the_coroutine_returns(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        with peer:
            assert protocol.events == ["made"]
            assert protocol.transport is transport
            transport.close()
            await protocol.lost

    run(main)


def test_connection_made_comes_in_a_turn_of_its_own(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket_pair("tcp")
        made_inside: list[bool] = []

        def factory() -> Recorder:
            protocol = Recorder()
            loop.call_soon(lambda: made_inside.append("made" in protocol.events))
            return protocol

        transport, protocol = await loop.create_connection(factory, sock=ours)
        assert made_inside == [False]  # the factory's callback stood in the queue before connection_made
        with peer:
            transport.close()
            await protocol.lost

    run(main)


@FAMILIES
def test_data_then_what_it_woke_then_eof_then_lost(run: Run, family: str) -> None:
    class Waking(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            asyncio.get_running_loop().call_soon(self.events.append, "woken by data")

        def eof_received(self) -> None:
            super().eof_received()
            asyncio.get_running_loop().call_soon(self.events.append, "woken by eof")

    async def main() -> None:
        ours, peer = socket_pair(family)
        with peer:
            peer.send(b"all of it at once")
            peer.shutdown(socket.SHUT_WR)
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_connection(Waking, sock=ours)
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "woken by data", "eof", "woken by eof", "lost"]

    run(main)


@FAMILIES
def test_eof_received_that_returns_true_keeps_it_open(run: Run, family: str) -> None:
    class Keeping(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            return True

    async def main() -> None:
        transport, protocol, peer = await connect_pair(family, Keeping)
        with peer:
            peer.shutdown(socket.SHUT_WR)
            await protocol.eof.wait()
            await turns()
            assert not transport.is_closing()
            assert protocol.events == ["made", "eof"]
            transport.write(b"still writing")
            assert await asyncio.to_thread(peer.recv, 100) == b"still writing"
            await turns()
            assert protocol.events == ["made", "eof"]  # told once, not at each turn
            transport.close()
            assert await protocol.lost is None

    run(main)


@FAMILIES
@pytest.mark.parametrize("method", ["close", "abort"])
def test_closing_does_not_call_the_protocol_from_inside(run: Run, family: str, method: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        with peer:
            getattr(transport, method)()
            assert transport.is_closing()
            assert protocol.events == ["made"]
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]
            assert await asyncio.to_thread(peer.recv, 1) == b""

    run(main)


@FAMILIES
def test_lost_is_told_once_whatever_is_called(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        transport.close()
        transport.abort()
        transport.close()
        peer.close()
        await protocol.lost
        transport.close()
        transport.abort()
        await turns(10)
        assert protocol.events == ["made", "lost"]

    run(main)


def test_abort_after_close_with_bytes_left(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        with peer:
            transport.write(bytes(1 << 21))
            transport.close()
            await turns()
            assert not protocol.lost.done()
            transport.abort()
            assert await protocol.lost is None
            assert transport.get_write_buffer_size() == 0

    run(main)


@pytest.mark.parametrize("method", ["close", "abort"])
def test_closing_in_connection_made(run: Run, method: str) -> None:
    class Closing(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            getattr(transport, method)()

    async def main() -> None:
        _, protocol, peer = await connect_pair("tcp", Closing)
        with peer:
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]
            assert await asyncio.to_thread(peer.recv, 1) == b""

    run(main)


@pytest.mark.parametrize("method", ["close", "abort"])
def test_closing_in_data_received_ends_the_data(run: Run, method: str) -> None:
    class Closing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            getattr(self.transport, method)()

    async def main() -> None:
        _, protocol, peer = await connect_pair("unix", Closing)
        with peer:
            peer.sendall(bytes(100_000))
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "lost"]

    run(main)


def test_no_data_after_close(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        with peer:
            peer.send(b"unread")
            transport.close()
            await protocol.lost
            assert "data" not in protocol.events

    run(main)


def test_a_reset_is_an_error_and_no_eof(run: Run) -> None:
    async def main() -> None:
        _, protocol, peer = await connect_pair("tcp")
        reset(peer)
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert protocol.events == ["made", "lost"]

    run(main)


def test_a_reset_that_is_found_by_writing(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        transport.pause_reading()
        await turns()
        reset(peer)
        transport.write(b"to nobody")
        assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
        assert "eof" not in protocol.events

    run(main)


def test_a_peer_that_closes_with_our_bytes_unread(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("unix")
        transport.write(b"nobody reads this")
        await turns()
        peer.close()
        error = await protocol.lost
        assert error is None or isinstance(error, ConnectionResetError)

    run(main)


def test_the_order_of_two_connections_does_not_mix(run: Run) -> None:
    async def main() -> None:
        pairs = [await connect_pair("tcp") for _ in range(10)]
        for index, (_, _, peer) in enumerate(pairs):
            peer.send(bytes([index]) * 3)
        for index, (_, protocol, _) in enumerate(pairs):
            assert await protocol.received(3) == bytes([index]) * 3
        for transport, protocol, peer in pairs:
            peer.close()
            transport.close()
            await protocol.lost

    run(main)


def test_a_transport_that_is_open_when_the_loop_ends_warns(run: Run, ledger: object) -> None:
    kept: list[object] = []

    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        protocol.transport = None
        kept.append(peer)
        del transport, protocol

    run(main)
    texts = ledger.take_warnings(ResourceWarning)  # type: ignore[attr-defined]
    assert any(text.startswith("unclosed transport <") for text in texts), texts
    kept[0].close()  # type: ignore[attr-defined]


def test_the_loop_outlives_a_protocol_of_methods_that_do_not_exist(run: Run) -> None:
    # asyncio calls what is there; a protocol that is no subclass of asyncio's works as long as it answers.
    class Bare:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.seen.append("made")

        def data_received(self, data: bytes) -> None:
            self.seen.append(data.decode())

        def eof_received(self) -> None:
            self.seen.append("eof")

        def connection_lost(self, exc: BaseException | None) -> None:
            self.seen.append("lost")

    async def main() -> None:
        _, protocol, peer = await connect_pair("tcp", Bare)
        peer.send(b"hello")
        peer.close()
        await eventually(lambda: "lost" in protocol.seen)
        assert protocol.seen == ["made", "hello", "eof", "lost"]

    run(main)
