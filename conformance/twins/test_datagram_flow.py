"""Datagrams that have to wait: flow control, errors among them, and an end in the middle.

UDP over the loopback never blocks. Unix datagrams do: a socket takes so many and no more until somebody reads.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from .support import Datagrams, Run, turns
from .versions import is_asyncio

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")

HEADER = 8 if sys.version_info >= (3, 13) else 0
"""What a waiting datagram counts for beyond its payload."""


async def blocked(factory: Callable[[], Any] = Datagrams, size: int = 100) -> tuple[Any, Any, socket.socket, int]:
    """A transport that has one datagram of `size` bytes in its buffer, its protocol, its peer, and how many the kernel holds."""
    # No socketpair(): its ends have no names, and asyncio takes a socket whose peer has none for unconnected.
    ours, peer = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (ours, peer):
        sock.bind("")  # an abstract name of the kernel's choice
    ours.connect(peer.getsockname())
    peer.connect(ours.getsockname())
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
    peer.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(factory, sock=ours)
    sent = 0
    while not transport.get_write_buffer_size():
        transport.sendto(sent.to_bytes(size, "big"))
        sent += 1
    return transport, protocol, peer, sent - 1


async def drain(peer: socket.socket, count: int) -> list[bytes]:
    """Receive so many datagrams in the loop's own thread."""
    received: list[bytes] = []
    while len(received) < count:
        try:
            received.append(peer.recv(200_000))
        except BlockingIOError:
            await asyncio.sleep(0)
    return received


def numbers(datagrams: list[bytes]) -> list[int]:
    return [int.from_bytes(data, "big") for data in datagrams]


def test_what_waits_is_counted_and_leaves_in_order(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, sent = await blocked()
        with peer:
            assert transport.get_write_buffer_size() == 100 + HEADER
            assert "write=<polling" in repr(transport)
            transport.sendto((sent + 1).to_bytes(50, "big"))
            assert transport.get_write_buffer_size() == 150 + 2 * HEADER
            assert numbers(await drain(peer, sent + 2)) == list(range(sent + 2))
            transport.close()
            await protocol.ended()

    run(main)


def test_nothing_is_left_in_the_account(run: Run, loop_factory: Any) -> None:
    if is_asyncio(loop_factory) and (3, 13) <= sys.version_info < (3, 13, 6):
        pytest.skip("asyncio forgets to take the header off before 3.13.6")

    async def main() -> None:
        transport, protocol, peer, sent = await blocked()
        with peer:
            await drain(peer, sent + 1)
            await turns(2)
            assert transport.get_write_buffer_size() == 0
            transport.close()
            await protocol.ended()

    run(main)


def test_a_mutable_buffer_that_waits_is_copied(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, sent = await blocked()
        with peer:
            data = bytearray(b"before")
            transport.sendto(data)
            data[:] = b"after!"
            assert (await drain(peer, sent + 2))[-1] == b"before"
            transport.close()
            await protocol.ended()

    run(main)


def test_empty_datagrams_wait_too(run: Run) -> None:
    if sys.version_info < (3, 13):
        pytest.skip("asyncio drops empty datagrams before 3.13")

    async def main() -> None:
        transport, protocol, peer, sent = await blocked()
        with peer:
            transport.sendto(b"")
            transport.sendto(b"last")
            assert transport.get_write_buffer_size() == 104 + 3 * HEADER
            assert (await drain(peer, sent + 3))[-2:] == [b"", b"last"]
            transport.close()
            await protocol.ended()

    run(main)


def test_pause_and_resume(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, sent = await blocked()
        with peer:
            assert transport.get_write_buffer_limits() == (16384, 65536)
            transport.set_write_buffer_limits(high=1000, low=500)
            assert transport.get_write_buffer_limits() == (500, 1000)
            assert protocol.events == ["made"]
            while transport.get_write_buffer_size() <= 1000:
                assert protocol.events == ["made"]
                transport.sendto(bytes(100))
                sent += 1
            assert protocol.events == ["made", "pause"], "within sendto"
            transport.sendto(bytes(100))
            assert protocol.events == ["made", "pause"], "once"
            await drain(peer, sent + 2)
            await protocol.until(lambda: "resume" in protocol.events)
            transport.close()
            await protocol.ended()
            assert protocol.events == ["made", "pause", "resume", "lost"]

    run(main)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"high": 400}, (100, 400)),
        ({"low": 100}, (100, 400)),
        ({"high": 0}, (0, 0)),
        ({}, (16384, 65536)),
    ],
)
def test_limits(run: Run, limits: dict[str, int], expected: tuple[int, int]) -> None:
    async def main() -> None:
        transport, protocol, peer, _ = await blocked()
        with peer:
            transport.set_write_buffer_limits(**limits)
            assert transport.get_write_buffer_limits() == expected
            transport.abort()
            await protocol.ended()

    run(main)


@pytest.mark.parametrize("limits", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}])
def test_limits_that_make_no_sense(run: Run, limits: dict[str, int]) -> None:
    async def main() -> None:
        transport, protocol, peer, _ = await blocked()
        with peer:
            with pytest.raises(ValueError, match="must be >= low"):
                transport.set_write_buffer_limits(**limits)
            transport.abort()
            await protocol.ended()

    run(main)


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_what_flow_control_raises_is_reported(run: Run, method: str) -> None:
    class Failing(Datagrams):
        pass

    def fail(self: Any) -> None:
        getattr(Datagrams, method)(self)
        raise ValueError("made by a test")

    setattr(Failing, method, fail)

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        transport, protocol, peer, sent = await blocked(Failing)
        with peer:
            transport.set_write_buffer_limits(high=1000)
            transport.sendto(bytes(2000))
            await drain(peer, sent + 2)
            await protocol.until(lambda: "resume" in protocol.events)
            transport.close()
            await protocol.ended()
        (context,) = told
        assert context["message"] == f"protocol.{method}() failed"
        assert str(context["exception"]) == "made by a test"
        assert (context["transport"], context["protocol"]) == (transport, protocol)

    run(main)


def test_close_sends_what_waits(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, sent = await blocked()
        with peer:
            transport.sendto((sent + 1).to_bytes(100, "big"))
            peer.send(b"not any more")
            transport.close()
            await turns()
            assert protocol.events == ["made"], "neither lost nor read"
            transport.sendto((sent + 2).to_bytes(100, "big"))
            assert numbers(await drain(peer, sent + 3)) == list(range(sent + 3))
            assert await protocol.ended() is None
            assert protocol.events == ["made", "lost"]

    run(main)


def test_abort_drops_what_waits(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, sent = await blocked()
        with peer:
            transport.abort()
            assert transport.get_write_buffer_size() in (0, 100 + HEADER)  # asyncio leaves the number as it was
            assert await protocol.ended() is None
            await drain(peer, sent)
            with pytest.raises(BlockingIOError):
                peer.recv(10)

    run(main)


def test_abort_while_closing(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, _ = await blocked()
        with peer:
            transport.close()
            await turns(2)
            assert protocol.events == ["made"]
            transport.abort()
            assert await protocol.ended() is None
            assert protocol.events == ["made", "lost"]

    run(main)


def test_paused_reading_and_waiting_to_write(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, sent = await blocked()
        with peer:
            transport.pause_reading()
            peer.send(b"x")
            await drain(peer, sent + 1)
            await turns(2)
            assert protocol.received == []
            transport.resume_reading()
            assert await protocol.datagrams(1) == [b"x"]
            transport.close()
            await protocol.ended()

    run(main)


# ------------------------------------------------------------------------------------------- errors among what waits


def test_each_datagram_that_cannot_be_sent_is_told_and_a_paused_protocol_resumes(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, _ = await blocked()
        transport.set_write_buffer_limits(high=1000, low=999)
        while transport.get_write_buffer_size() <= 1000:
            transport.sendto(bytes(300))
        waiting = 1 + (transport.get_write_buffer_size() - 100 - HEADER) // (300 + HEADER)
        assert protocol.events == ["made", "pause"]
        peer.close()
        await protocol.until(lambda: "resume" in protocol.events)
        await protocol.until(lambda: len(protocol.errors) == waiting)
        assert all(isinstance(error, OSError) for error in protocol.errors)
        transport.close()
        assert await protocol.ended() is None

    run(main)


def test_closed_while_errors_come(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, _ = await blocked()
        transport.sendto(b"x")
        transport.close()
        peer.close()
        assert await protocol.ended() is None
        assert protocol.events == ["made", "error", "error", "lost"]

    run(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closed_from_error_received(run: Run, how: str) -> None:
    class Closing(Datagrams):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            getattr(self.transport, how)()

    async def main() -> None:
        transport, protocol, peer, _ = await blocked(Closing)
        transport.sendto(b"x")
        peer.close()
        assert await protocol.ended() is None
        await turns(2)
        errors = ["error", "error"] if how == "close" else ["error"]
        assert protocol.events == ["made", *errors, "lost"]

    run(main)


def test_sent_from_error_received(run: Run) -> None:
    class Persistent(Datagrams):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            if len(self.errors) <= 3:
                self.transport.sendto(b"again")

    async def main() -> None:
        transport, protocol, peer, _ = await blocked(Persistent)
        peer.close()
        await protocol.until(lambda: len(protocol.errors) >= 4)
        await turns()
        assert len(protocol.errors) == 4
        transport.close()
        assert await protocol.ended() is None

    run(main)


def test_what_error_received_raises_is_reported_and_the_rest_is_sent(run: Run) -> None:
    class Failing(Datagrams):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise ValueError("made by a test")

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        transport, protocol, peer, _ = await blocked(Failing)
        transport.sendto(b"x")
        transport.close()
        peer.close()
        assert await protocol.ended() is None
        assert protocol.events == ["made", "error", "error", "lost"]
        assert ["Exception in callback" in context["message"] for context in told] == [True, True]

    run(main)


def test_closed_from_resume_writing(run: Run) -> None:
    class Closing(Datagrams):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.transport.close()

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        transport, protocol, peer, sent = await blocked(Closing)
        with peer:
            transport.set_write_buffer_limits(high=1000)
            transport.sendto(bytes(2000))
            await drain(peer, sent + 2)
            assert await protocol.ended() is None
            await turns(2)
            assert protocol.events == ["made", "pause", "resume", "lost"]

    run(main)
