"""Datagram transports: what arrives, what leaves, what goes wrong, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import socket
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Ledger
from .support import Datagrams, Run, eventually, turns, udp_socket
from .versions import asyncio_has_it_since, is_asyncio

Factory = Callable[[], Any]


async def wrapped(factory: Factory = Datagrams, *, host: str = "127.0.0.1") -> tuple[Any, Any, socket.socket]:
    """A transport that is not connected, its protocol, and a raw socket to talk to it."""
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(factory, local_addr=(host, 0))
    return transport, protocol, udp_socket(host)


async def connected(factory: Factory = Datagrams) -> tuple[Any, Any, socket.socket]:
    """A transport that is connected to a raw socket, and its protocol."""
    peer = udp_socket()
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        factory, remote_addr=peer.getsockname()
    )
    peer.connect(transport.get_extra_info("sockname"))
    return transport, protocol, peer


def collect(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """Have the exception handler's contexts put into a list."""
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    return told


# --------------------------------------------------------------------------------------------------------- what it is


def test_it_is_a_datagram_transport(run: Run, loop_factory: Any) -> None:
    asyncio_has_it_since(loop_factory, 3, 12)

    async def main() -> None:
        transport, protocol, peer = await wrapped()
        peer.close()
        assert isinstance(transport, asyncio.DatagramTransport)
        assert isinstance(transport, asyncio.Transport), "odd, but CPython's own tests ask for it"
        transport.close()
        await protocol.ended()

    run(main)


def test_it_takes_attributes_and_references(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            transport.mine = 1
            assert weakref.ref(transport)() is transport
            assert transport.get_protocol() is protocol
            assert transport.get_extra_info("nonsense") is None
            assert transport.get_extra_info("nonsense", 5) == 5
            assert "fd=" in repr(transport)
            assert "read=polling" in repr(transport)
            assert "bufsize=0" in repr(transport)
            transport.close()
            assert "closing" in repr(transport)
            await protocol.ended()
            assert "closed" in repr(transport)
            assert transport.get_protocol() is None

    run(main)


def test_the_socket_is_live_until_it_is_closed(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            shown = transport.get_extra_info("socket")
            assert isinstance(shown, asyncio.trsock.TransportSocket)  # type: ignore[attr-defined]
            assert shown.type == socket.SOCK_DGRAM
            assert shown.getsockname() == transport.get_extra_info("sockname")
            assert transport._sock.fileno() == shown.fileno() == transport._sock_fd
            transport.close()
            assert shown.fileno() != -1
            await protocol.ended()
            await turns(2)
            assert shown.fileno() == -1
            assert transport.get_extra_info("socket") is shown
            assert transport._sock is None

    run(main)


def test_dropped_open(run: Run, ledger: Ledger) -> None:
    class Forgetful(asyncio.DatagramProtocol):
        pass

    async def main() -> None:
        transport, _, peer = await wrapped(Forgetful)
        with peer:
            transport.pause_reading()  # the loop forgets it
            fileno = transport.get_extra_info("socket").fileno()
            del transport
            assert ledger.take_warnings(ResourceWarning, "unclosed transport")
            with pytest.raises(OSError):
                socket.socket(fileno=fileno)

    run(main)


def test_contexts(run: Run) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
    seen: dict[str, str] = {}

    class Looking(Datagrams):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen["made"] = var.get()
            super().connection_made(transport)

        def datagram_received(self, data: bytes, addr: Any) -> None:
            seen["received"] = var.get()
            var.set("must not leak")
            super().datagram_received(data, addr)

        def connection_lost(self, exc: BaseException | None) -> None:
            seen["lost"] = var.get()
            super().connection_lost(exc)

    async def main() -> None:
        var.set("the caller's")
        transport, protocol, peer = await wrapped(Looking)
        with peer:
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            await protocol.datagrams(1)
            assert var.get() == "the caller's"
            asyncio.get_running_loop().call_soon(lambda: seen.update(after=var.get()))
            transport.close()
            await protocol.ended()

    run(main)
    assert seen["made"] == seen["received"] == seen["after"] == "the caller's"
    assert "lost" in seen


# -------------------------------------------------------------------------------------------------------- what arrives


def test_datagrams_arrive_whole_and_in_order(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            sent = [bytes([number]) * (number * 7) for number in range(1, 101)]
            for data in sent:
                peer.sendto(data, transport.get_extra_info("sockname"))
            assert await protocol.datagrams(100) == sent
            assert set(protocol.senders) == {peer.getsockname()}
            assert all(type(data) is bytes for data in protocol.received)
            transport.close()
            await protocol.ended()

    run(main)


def test_many_senders_are_told_apart(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        peers = [peer, *(udp_socket() for _ in range(150))]
        for count in range(2 * len(peers)):
            number = count % len(peers)
            peers[number].sendto(b"%d" % number, transport.get_extra_info("sockname"))
            await protocol.datagrams(count + 1)  # the kernel keeps only so many
        for data, sender in zip(protocol.received, protocol.senders, strict=True):
            assert sender == peers[int(data)].getsockname()
        for data, sender in zip(protocol.received[: len(peers)], protocol.senders, strict=False):
            transport.sendto(data, sender)
        for number, sender in enumerate(peers):
            assert sender.recv(10) == b"%d" % number
            sender.close()
        transport.close()
        await protocol.ended()

    run(main)


def test_an_empty_datagram_arrives(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            peer.sendto(b"", transport.get_extra_info("sockname"))
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            assert await protocol.datagrams(2) == [b"", b"x"]
            transport.close()
            await protocol.ended()

    run(main)


def test_the_largest_datagram(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected()
        with peer:
            data = bytes(range(256)) * 255 + b"x" * 227
            assert len(data) == 65507
            peer.send(data)
            assert await protocol.datagrams(1) == [data]
            transport.sendto(data)
            assert peer.recv(70000) == data
            transport.close()
            await protocol.ended()

    run(main)


def test_a_large_unix_datagram(run: Run) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, sock=ours)
        with peer:
            peer.sendall(b"x" * 150_000)
            assert await protocol.datagrams(1) == [b"x" * 150_000]
            assert protocol.senders == [None]
            transport.close()
            await protocol.ended()

    run(main)


@pytest.mark.parametrize("how", ["close", "abort", "pause_reading"])
def test_nothing_more_of_a_batch_after(run: Run, how: str) -> None:
    class Once(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.received) == 1:
                getattr(self.transport, how)()

    async def main() -> None:
        transport, protocol, peer = await wrapped(Once)
        with peer:
            for number in range(5):
                peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
            await protocol.datagrams(1)
            await turns()
            assert protocol.received == [b"0"]
            assert not transport.is_reading()
            if how == "pause_reading":
                transport.resume_reading()
                assert transport.is_reading()
                assert await protocol.datagrams(5) == [b"0", b"1", b"2", b"3", b"4"]
                transport.close()
            await protocol.ended()
            assert protocol.events[-1] == "lost"

    run(main)


def test_pausing_and_resuming_twice_changes_nothing(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            transport.resume_reading()
            transport.pause_reading()
            transport.pause_reading()
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            await turns()
            assert protocol.received == []
            transport.resume_reading()
            transport.resume_reading()
            assert await protocol.datagrams(1) == [b"x"]
            transport.close()
            transport.resume_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            await protocol.ended()

    run(main)


def test_another_protocol_gets_the_next_datagram(run: Run) -> None:
    class Leaving(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.set_protocol(successor)

    async def main() -> None:
        nonlocal successor
        successor = Datagrams()
        transport, protocol, peer = await wrapped(Leaving)
        with peer:
            for data in (b"1", b"2", b"3"):
                peer.sendto(data, transport.get_extra_info("sockname"))
            assert await successor.datagrams(2) == [b"2", b"3"]
            assert protocol.received == [b"1"]
            transport.close()
            await successor.ended()

    successor: Any = None
    run(main)


def test_other_callbacks_run_in_a_storm(run: Run) -> None:
    """However many datagrams wait, a callback does not wait for all of them."""

    class Storm(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.sendto(data, self.transport.get_extra_info("sockname"))  # never less

    async def main() -> None:
        transport, protocol, peer = await wrapped(Storm)
        with peer:
            for _ in range(50):
                peer.sendto(b"x", transport.get_extra_info("sockname"))
            await protocol.datagrams(1)
            for _ in range(200):
                before = len(protocol.received)
                await asyncio.sleep(0)
                assert len(protocol.received) - before <= 64
            transport.close()
            await protocol.ended()

    run(main)


# ------------------------------------------------------------------------------------------------------ what is raised


@pytest.mark.parametrize("method", ["datagram_received", "connection_made", "connection_lost"])
def test_a_protocol_method_that_raises_is_reported_and_the_endpoint_goes_on(run: Run, method: str) -> None:
    class Failing(Datagrams):
        pass

    def fail(self: Any, *args: Any) -> None:
        getattr(Datagrams, method)(self, *args)
        if len(self.received) <= 1:
            raise ValueError("made by a test")

    setattr(Failing, method, fail)

    async def main() -> None:
        told = collect(asyncio.get_running_loop())
        transport, protocol, peer = await wrapped(Failing)
        with peer:
            for data in (b"1", b"2", b"3") if method == "datagram_received" else ():
                peer.sendto(data, transport.get_extra_info("sockname"))
                await protocol.until(lambda data=data: data in protocol.received)
            transport.close()
            await protocol.ended()
            await turns(2)
        (context,) = told
        assert context["message"].startswith("Exception in callback")
        assert str(context["exception"]) == "made by a test"

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_loop_leaves_the_endpoint_as_it_is(loop: asyncio.AbstractEventLoop, error: Any) -> None:
    class Trapped(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.received) == 2:
                raise error("made by a test")

    transport, protocol, peer = loop.run_until_complete(wrapped(Trapped))
    with peer:
        for number in range(5):
            peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
        with pytest.raises(error, match="made by a test"):
            loop.run_until_complete(asyncio.sleep(5))
        assert protocol.received == [b"0", b"1"]
        loop.run_until_complete(protocol.datagrams(5))
        assert protocol.received == [b"0", b"1", b"2", b"3", b"4"]
        transport.close()
        loop.run_until_complete(protocol.ended())


def test_slow_protocols_are_named_in_debug_mode(run: Run, ledger: Ledger) -> None:
    class Slow(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            began = loop.time()
            while loop.time() - began < 0.002:
                pass
            super().datagram_received(data, addr)

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        transport, protocol, peer = await wrapped(Slow)
        with peer:
            loop.slow_callback_duration = 0.001
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            await protocol.datagrams(1)
            loop.slow_callback_duration = 60.0
            transport.close()
            await protocol.ended()

    loop: Any = None
    run(main, debug=True)
    assert any("DatagramTransport" in record.getMessage() for record in ledger.take_logs("Executing <"))


# ---------------------------------------------------------------------------------------------------------- what leaves


def test_it_has_left_when_sendto_returns(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected()
        with peer:
            for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"a memoryview")[2:]):
                transport.sendto(data)
                assert peer.recv(100) == bytes(data)
            assert transport.get_write_buffer_size() == 0
            transport.close()
            await protocol.ended()

    run(main)


def test_an_empty_datagram_leaves_from_3_13_on(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected()
        with peer:
            transport.sendto(b"")
            transport.sendto(b"x")
            first = [b"", b"x"] if sys.version_info >= (3, 13) else [b"x"]
            assert [peer.recv(10) for _ in first] == first
            transport.close()
            await protocol.ended()

    run(main)


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"]])
def test_what_is_not_bytes_is_refused(run: Run, data: object) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected()
        with peer:
            name = type(data).__name__
            with pytest.raises(TypeError, match=f"data argument must be a bytes-like object, not '{name}'"):
                transport.sendto(data)
            transport.close()
            await protocol.ended()
            assert protocol.errors == []

    run(main)


def test_arguments_by_name(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            transport.sendto(data=b"1", addr=peer.getsockname())
            transport.sendto(b"2", addr=peer.getsockname())
            assert [peer.recv(10), peer.recv(10)] == [b"1", b"2"]
            for call in (
                lambda: transport.sendto(),
                lambda: transport.sendto(b"x", None, 1),
                lambda: transport.sendto(b"x", data=b"x"),
                lambda: transport.sendto(b"x", address=None),
            ):
                with pytest.raises(TypeError, match="argument"):
                    call()
            transport.close()
            await protocol.ended()

    run(main)


ADDRESSES = [
    ("127.0.0.1", lambda port: ("127.0.0.1", port)),
    ("127.0.0.1", lambda port: ("localhost", port)),
    ("127.0.0.1", lambda port: (b"127.0.0.1", port)),
    ("127.0.0.1", lambda port: ("127.1", port)),
    ("127.0.0.1", lambda port: ("127.0.0.1", type("Port", (int,), {})(port))),
    ("::1", lambda port: ("::1", port)),
    ("::1", lambda port: ("::1", port, 0)),
    ("::1", lambda port: ("::1", port, 0, 0)),
    ("::1", lambda port: ("0:0:0:0:0:0:0:1", port)),
    ("::1", lambda port: ("::1%lo", port)),
    ("::1", lambda port: ("localhost", port)),
]


@pytest.mark.parametrize(("host", "address"), ADDRESSES)
def test_addresses_are_what_the_socket_module_makes_of_them(run: Run, host: str, address: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped(host=host)
        with peer:
            target = address(peer.getsockname()[1])
            with socket.socket(peer.family, socket.SOCK_DGRAM) as control:
                try:
                    control.sendto(b"control", target)
                    assert peer.recv(10) == b"control"
                    possible = True
                except OSError:
                    possible = False
            if possible:
                transport.sendto(b"x", target)
                assert peer.recvfrom(10) == (b"x", transport.get_extra_info("sockname"))
            transport.close()
            await protocol.ended()
            assert protocol.errors == []
        if not possible:
            pytest.skip(f"this machine cannot send to {target}")

    run(main)


def test_a_connected_endpoint_has_one_address(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected()
        with peer:
            host, port = peer.getsockname()
            transport.sendto(b"1", None)
            transport.sendto(b"2", (host, port))
            assert [peer.recv(10), peer.recv(10)] == [b"1", b"2"]
            for other in ((host, port + 1), [host, port], ("localhost", port), ()):
                with pytest.raises(ValueError, match=r"^Invalid address: must be None or \('127.0.0.1', \d+\)$"):
                    transport.sendto(b"x", other)
            transport.close()
            with pytest.raises(ValueError):
                transport.sendto(b"x", (host, port + 1))
            await protocol.ended()

    run(main)


def test_os_errors_go_to_error_received_and_the_endpoint_goes_on(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            transport.sendto(b"x" * 70_000, peer.getsockname())
            assert [error.errno for error in protocol.errors] == [errno.EMSGSIZE], "before sendto returned"
            transport.sendto(b"x", ("255.255.255.255", 9))
            assert [error.errno for error in protocol.errors] == [errno.EMSGSIZE, errno.EACCES]
            assert all(type(error) in (OSError, PermissionError) for error in protocol.errors)
            transport.sendto(b"y", peer.getsockname())
            assert peer.recv(10) == b"y"
            transport.close()
            assert await protocol.ended() is None

    run(main)


def test_a_name_of_another_family_is_an_os_error(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            transport.sendto(b"x", ("::1", 9))
            (error,) = protocol.errors
            assert isinstance(error, socket.gaierror)
            transport.close()
            await protocol.ended()

    run(main)


def test_what_error_received_raises_is_the_senders(run: Run) -> None:
    class Failing(Datagrams):
        def error_received(self, exc: Exception) -> None:
            raise ValueError("made by a test")

    async def main() -> None:
        transport, protocol, peer = await wrapped(Failing)
        with peer:
            with pytest.raises(ValueError, match="made by a test"):
                transport.sendto(b"x" * 70_000, peer.getsockname())
            transport.close()
            assert await protocol.ended() is None

    run(main)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (None, TypeError),
        ("127.0.0.1", TypeError),
        (("127.0.0.1",), TypeError),
        (("127.0.0.1", "9"), TypeError),
        (("127.0.0.1", 9, 0), TypeError),
        (("127.0.0.1", 65536), OverflowError),
        (("127.0.0.1", -1), OverflowError),
        (("\ud800", 9), TypeError),
        ((), TypeError),
    ],
)
def test_an_address_that_makes_no_sense_ends_the_endpoint(run: Run, address: Any, error: Any) -> None:
    async def main() -> None:
        told = collect(asyncio.get_running_loop())
        transport, protocol, peer = await wrapped()
        with peer:
            transport.sendto(b"x", address)
            assert protocol.events == ["made"]
            lost = await protocol.ended()
            assert isinstance(lost, error)
            (context,) = told
            assert context == {
                "message": "Fatal write error on datagram transport",
                "exception": lost,
                "transport": transport,
                "protocol": protocol,
            }

    run(main)


def test_a_refused_datagram_is_told_and_the_endpoint_goes_on(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected()
        address = peer.getsockname()
        peer.close()
        transport.sendto(b"x")
        await protocol.until(lambda: protocol.errors)
        assert type(protocol.errors[0]) is ConnectionRefusedError
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(address)
            again.settimeout(5)
            transport.sendto(b"y")
            assert again.recv(10) == b"y"
            again.sendto(b"z", transport.get_extra_info("sockname"))
            assert await protocol.datagrams(1) == [b"z"]
        transport.close()
        assert await protocol.ended() is None

    run(main)


# ------------------------------------------------------------------------------------------- sockets with their own mind


class Odd(socket.socket):
    """A socket whose methods raise what a test puts there."""

    failures: list[BaseException]

    def recvfrom(self, *args: Any) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        data, sender = super().recvfrom(*args)
        return data.upper(), sender

    def sendto(self, data: Any, *args: Any) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        return super().sendto(bytes(data).upper(), *args)


async def odd(*failures: BaseException) -> tuple[Any, Datagrams, socket.socket, Odd]:
    sock = Odd(socket.AF_INET, socket.SOCK_DGRAM)
    sock.failures = []
    sock.bind(("127.0.0.1", 0))
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, sock=sock)
    sock.failures.extend(failures)
    return transport, protocol, udp_socket(), sock


def test_a_socket_class_of_its_own_is_asked(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, _ = await odd()
        with peer:
            transport.sendto(b"question", peer.getsockname())
            assert peer.recv(100) == b"QUESTION"
            peer.sendto(b"answer", transport.get_extra_info("sockname"))
            peer.sendto(b"more", transport.get_extra_info("sockname"))
            assert await protocol.datagrams(2) == [b"ANSWER", b"MORE"]
            transport.close()
            await protocol.ended()

    run(main)


def test_no_buffer_space(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, _ = await odd(OSError(errno.ENOBUFS, "No buffer space available"))
        with peer:
            transport.sendto(b"x", peer.getsockname())
            assert [error.errno for error in protocol.errors] == [errno.ENOBUFS]
            transport.sendto(b"y", peer.getsockname())
            assert peer.recv(10) == b"Y"
            transport.close()
            assert await protocol.ended() is None

    run(main)


def test_no_buffer_space_while_receiving(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer, _ = await odd(OSError(errno.ENOBUFS, "No buffer space available"))
        with peer:
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            assert await protocol.datagrams(1) == [b"X"]
            assert [error.errno for error in protocol.errors] == [errno.ENOBUFS]
            transport.close()
            assert await protocol.ended() is None

    run(main)


def test_a_bug_while_receiving_ends_the_endpoint(run: Run) -> None:
    async def main() -> None:
        told = collect(asyncio.get_running_loop())
        transport, protocol, peer, _ = await odd(ZeroDivisionError())
        with peer:
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            assert isinstance(await protocol.ended(), ZeroDivisionError)
            assert [context["message"] for context in told] == ["Fatal read error on datagram transport"]

    run(main)


# ---------------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize("how", ["close", "abort"])
def test_connection_lost_comes_once_and_later(run: Run, how: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            assert not transport.is_closing()
            getattr(transport, how)()
            assert transport.is_closing()
            assert protocol.events == ["made"]
            transport.close()
            transport.abort()
            assert await protocol.ended() is None
            await turns()
            transport.close()
            transport.abort()
            assert protocol.events == ["made", "lost"]

    run(main)


def test_closed_in_connection_made(run: Run) -> None:
    class Closing(Datagrams):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.close()

    async def main() -> None:
        _, protocol, peer = await wrapped(Closing)
        with peer:
            assert await protocol.ended() is None
            assert protocol.events == ["made", "lost"]

    run(main)


def test_sent_between_close_and_the_end(run: Run) -> None:
    """An endpoint that is not connected sends as long as it has its socket; a connected one is silent at once."""

    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            transport.close()
            transport.sendto(b"goodbye", peer.getsockname())
            assert peer.recv(10) == b"goodbye"
            await protocol.ended()
        transport, protocol, peer = await connected()
        with peer:
            transport.close()
            transport.sendto(b"goodbye")
            peer.setblocking(False)
            with pytest.raises(BlockingIOError):
                peer.recv(10)
            await protocol.ended()

    run(main)


def test_sent_after_the_end_of_a_connected_endpoint(run: Run, ledger: Ledger) -> None:
    async def main() -> None:
        transport, protocol, peer = await connected()
        with peer:
            transport.close()
            await protocol.ended()
            for _ in range(4):
                transport.sendto(b"x")
            assert ledger.take_logs() == []
            transport.sendto(b"x")
            transport.sendto(b"x")
        assert len(ledger.take_logs("socket.send() raised exception.")) == 2

    run(main)


def test_sent_after_the_end_of_an_unconnected_endpoint(run: Run, loop_factory: Any) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio stumbles over its own missing socket there (AttributeError)")

    async def main() -> None:
        transport, protocol, peer = await wrapped()
        with peer:
            transport.close()
            await protocol.ended()
            transport.sendto(b"x", peer.getsockname())
            assert protocol.events == ["made", "lost"]

    run(main)


def test_an_endpoint_that_outlives_its_loop(loop_factory: Any, ledger: Ledger) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        _, _, peer = runner.run(wrapped(asyncio.DatagramProtocol))
    peer.close()
    del runner
    assert ledger.take_warnings(ResourceWarning, "unclosed transport")


def test_the_port_is_free_again(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await wrapped()
        peer.close()
        address = transport.get_extra_info("sockname")
        transport.close()
        await protocol.ended()
        await eventually(lambda: transport.get_extra_info("socket").fileno() == -1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as next_one:
            next_one.bind(address)

    run(main)
