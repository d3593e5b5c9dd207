"""create_connection and create_unix_connection: which address, in which order, and what a failure says."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pathlib
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .support import LoopFactory, Recorder, Run, eventually, turns
from .versions import asyncio_has_it_since, is_asyncio


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens on a port of its own and accepts nobody."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@contextlib.contextmanager
def replaced(loop: asyncio.AbstractEventLoop, **methods: Any) -> Iterator[None]:
    """Put other methods on a loop, as tools and test suites do."""
    for name, method in methods.items():
        setattr(loop, name, method)
    try:
        yield
    finally:
        for name in methods:
            delattr(loop, name)


def answering(*addresses: tuple[Any, ...]) -> Callable[..., Any]:
    """A `getaddrinfo` that gives these addresses, whatever it is asked."""

    async def getaddrinfo(*_args: object, **_options: object) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in addresses
        ]

    return getaddrinfo


class Dialler:
    """A `sock_connect` that writes down where it is sent, and does there what the test says."""

    def __init__(self, *, refuse: bool = True) -> None:
        self.dialled: list[Any] = []
        self.socks: list[socket.socket] = []
        self.refuse = refuse
        self.hang: set[Any] = set()
        self.given_up: list[Any] = []

    async def __call__(self, sock: socket.socket, address: Any) -> None:
        self.dialled.append(address)
        self.socks.append(sock)
        if address in self.hang:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.given_up.append(address)
        if self.refuse:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {address}")


def test_a_connection_is_made_when_the_coroutine_returns(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
        assert protocol.events == ["made"]
        assert protocol.transport is transport
        assert transport.get_extra_info("peername") == listener.getsockname()
        assert transport.get_protocol() is protocol
        transport.close()
        await protocol.lost

    run(main)


@pytest.mark.parametrize("port", [int, str], ids=["int", "str"])
@pytest.mark.parametrize("host", ["127.0.0.1", b"127.0.0.1", "localhost"], ids=repr)
def test_kinds_of_hosts_and_ports(run: Run, listener: socket.socket, host: Any, port: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, host, port(listener.getsockname()[1]))
        transport.close()
        await protocol.lost

    run(main)


def test_refused(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        address = listener.getsockname()
        listener.close()
        with pytest.raises(ConnectionRefusedError) as caught:
            await loop.create_connection(Recorder, *address)
        assert caught.value.errno == errno.ECONNREFUSED
        assert str(address) in str(caught.value)

    run(main)


def test_the_next_address_is_tried(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        address = listener.getsockname()
        with replaced(loop, getaddrinfo=answering(("127.0.0.2", address[1]), address)):
            transport, protocol = await loop.create_connection(Recorder, "name.example", 80)
        assert transport.get_extra_info("peername") == address
        transport.close()
        await protocol.lost

    run(main)


def test_names_and_only_names_are_asked_through_the_instance(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked: list[Any] = []

        async def getaddrinfo(host: str, port: int, **options: int) -> list[Any]:
            asked.append((host, port, options))
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]

        with replaced(loop, getaddrinfo=getaddrinfo, sock_connect=Dialler()):
            for host in ("name.example", "127.0.0.1", "::1"):
                with pytest.raises(ConnectionRefusedError):
                    await loop.create_connection(Recorder, host, 80, flags=socket.AI_ADDRCONFIG)
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(
                    Recorder, "127.0.0.1", 80, family=socket.AF_INET, local_addr=("here.example", 0)
                )
        first = {"family": 0, "type": socket.SOCK_STREAM, "proto": 0, "flags": socket.AI_ADDRCONFIG}
        second = {"family": socket.AF_INET, "type": socket.SOCK_STREAM, "proto": 0, "flags": 0}
        assert asked == [("name.example", 80, first), ("here.example", 0, second)]

    run(main)


def test_no_address_at_all(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with replaced(loop, getaddrinfo=answering()):
            with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
                await loop.create_connection(Recorder, "name.example", 80)
            with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
                await loop.create_connection(Recorder, "127.0.0.1", 80, local_addr=("here.example", 0))

    run(main)


def test_equal_failures_are_told_once_and_different_ones_together(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def same(_sock: socket.socket, _address: Any) -> None:
            raise OSError(1, "the same")

        dialler = Dialler()
        with replaced(loop, getaddrinfo=answering(("127.0.0.1", 1), ("127.0.0.2", 2)), sock_connect=same):
            with pytest.raises(OSError, match="the same") as caught:
                await loop.create_connection(Recorder, "name.example", 80)
            assert "Multiple" not in str(caught.value)
        with replaced(loop, getaddrinfo=answering(("127.0.0.1", 1), ("127.0.0.2", 2)), sock_connect=dialler):
            with pytest.raises(OSError) as caught:
                await loop.create_connection(Recorder, "name.example", 80)
        assert str(caught.value) == (
            "Multiple exceptions: [Errno 111] Connect call failed ('127.0.0.1', 1), "
            "[Errno 111] Connect call failed ('127.0.0.2', 2)"
        )
        assert [sock.fileno() for sock in dialler.socks] == [-1, -1]

    run(main)


@pytest.mark.parametrize("delay", [None, 0.01], ids=["in turn", "racing"])
def test_all_errors(run: Run, loop_factory: LoopFactory, delay: float | None) -> None:
    asyncio_has_it_since(loop_factory, 3, 12)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with replaced(loop, getaddrinfo=answering(("127.0.0.1", 1), ("127.0.0.2", 2)), sock_connect=Dialler()):
            with pytest.raises(ExceptionGroup, match="create_connection failed") as caught:
                await loop.create_connection(Recorder, "name.example", 80, all_errors=True, happy_eyeballs_delay=delay)
        texts = [str(error) for error in caught.value.exceptions]
        assert texts == [f"[Errno 111] Connect call failed ('127.0.0.{n}', {n})" for n in (1, 2)]
        assert all(type(error) is ConnectionRefusedError for error in caught.value.exceptions)

    run(main)


@pytest.mark.parametrize(
    ("interleave", "order"),
    [(None, "44466"), (0, "44466"), (1, "46464"), (2, "44646"), (3, "44466"), (9, "44466")],
)
def test_interleaving(run: Run, interleave: int | None, order: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        addresses = [("127.0.0.1", 1), ("127.0.0.2", 2), ("127.0.0.3", 3), ("::1", 4, 0, 0), ("::1", 5, 0, 0)]
        dialler = Dialler()
        with replaced(loop, getaddrinfo=answering(*addresses), sock_connect=dialler):
            with pytest.raises(OSError):
                await loop.create_connection(Recorder, "name.example", 80, interleave=interleave)
        assert "".join("6" if ":" in address[0] else "4" for address in dialler.dialled) == order
        assert sorted(dialler.dialled, key=lambda address: address[1]) == addresses

    run(main)


def test_happy_eyeballs_pass_over_an_address_that_hangs(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        connect = loop.sock_connect
        dialler = Dialler(refuse=False)
        dialler.hang = {("127.0.0.2", 2)}

        async def sock_connect(sock: socket.socket, address: Any) -> None:
            await dialler(sock, address)
            await connect(sock, address)

        answer = answering(("127.0.0.2", 2), listener.getsockname(), ("127.0.0.3", 3))
        with replaced(loop, getaddrinfo=answer, sock_connect=sock_connect):
            transport, protocol = await loop.create_connection(Recorder, "name.example", 80, happy_eyeballs_delay=0.01)
        assert transport.get_extra_info("peername") == listener.getsockname()
        await turns()
        assert dialler.given_up == [("127.0.0.2", 2)]
        assert dialler.socks[0].fileno() == -1
        assert dialler.dialled == [("127.0.0.2", 2), listener.getsockname()]
        transport.close()
        await protocol.lost

    run(main)


def test_happy_eyeballs_go_on_at_once_when_an_address_refuses(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        dialler = Dialler()
        began = loop.time()
        with replaced(loop, getaddrinfo=answering(("127.0.0.1", 1), ("::1", 2, 0, 0)), sock_connect=dialler):
            with pytest.raises(OSError, match="Multiple exceptions: "):
                await loop.create_connection(Recorder, "name.example", 80, happy_eyeballs_delay=30)
        assert loop.time() - began < 10
        assert len(dialler.dialled) == 2

    run(main)


def test_happy_eyeballs_let_the_families_take_turns(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        dialler = Dialler()
        addresses = [("127.0.0.1", 1), ("127.0.0.2", 2), ("::1", 3, 0, 0)]
        with replaced(loop, getaddrinfo=answering(*addresses), sock_connect=dialler):
            with pytest.raises(OSError):
                await loop.create_connection(Recorder, "name.example", 80, happy_eyeballs_delay=30)
        assert [address[1] for address in dialler.dialled] == [1, 3, 2]

    run(main)


def test_a_local_address(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        transport, protocol = await loop.create_connection(
            Recorder, *listener.getsockname(), local_addr=("127.0.0.2", port)
        )
        assert transport.get_extra_info("sockname") == ("127.0.0.2", port)
        transport.close()
        await protocol.lost

    run(main)


def test_a_local_address_in_use_is_named(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        address = listener.getsockname()
        with pytest.raises(OSError) as caught:
            await loop.create_connection(Recorder, *address, local_addr=address)
        assert caught.value.errno == errno.EADDRINUSE
        assert f"error while attempting to bind on address {address!r}: " in str(caught.value)
        assert "address already in use" in str(caught.value)

    run(main)


def test_local_addresses_of_another_family_do_not_count(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        host, port = listener.getsockname()
        local = answering(("::1", 0, 0, 0), ("127.0.0.2", 0))
        with replaced(loop, getaddrinfo=local):
            transport, protocol = await loop.create_connection(Recorder, host, port, local_addr=("here.example", 0))
        assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
        transport.close()
        await protocol.lost
        with replaced(loop, getaddrinfo=answering(("::1", 0, 0, 0))):
            with pytest.raises(OSError, match=r"no matching local address with family=.*AF_INET.* found"):
                await loop.create_connection(Recorder, host, port, local_addr=("here.example", 0))

    run(main)


def test_the_next_local_address_is_tried(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        local = answering(listener.getsockname(), ("127.0.0.2", 0))
        with replaced(loop, getaddrinfo=local):
            transport, protocol = await loop.create_connection(
                Recorder, *listener.getsockname(), local_addr=("here.example", 0)
            )
        assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
        transport.close()
        await protocol.lost

    run(main)


def test_a_connected_socket_of_ones_own(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            assert not ours.getblocking()
            peer.sendall(b"hello")
            assert await protocol.received(5) == b"hello"
            transport.close()
            await protocol.lost
        assert ours.fileno() == -1

    run(main)


def test_arguments_that_contradict_each_other(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        stream, datagram = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        context = ssl.create_default_context()
        wrapped = context.wrap_socket(socket.socket(), server_hostname="name", do_handshake_on_connect=False)
        both = "host/port and sock can not be specified at the same time"
        cases: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({}, ValueError, "host and port was not specified and no sock specified"),
            ({"local_addr": ("127.0.0.1", 0)}, ValueError, "host and port was not specified and no sock specified"),
            ({"host": "::1", "sock": stream}, ValueError, both),
            ({"port": 0, "sock": object()}, ValueError, both),
            ({"sock": datagram}, ValueError, "A Stream Socket was expected, got <socket.socket"),
            ({"sock": wrapped}, TypeError, "Socket cannot be of type SSLSocket"),
            ({"sock": wrapped, "host": "::1"}, TypeError, "Socket cannot be of type SSLSocket"),
            ({"host": "::1", "port": 1, "server_hostname": ""}, ValueError, "server_hostname is only meaningful with"),
            ({"sock": stream, "ssl": True}, ValueError, "You must set server_hostname when using ssl without a host"),
            ({"host": "", "ssl": True}, ValueError, "You must set server_hostname when using ssl without a host"),
            ({"sock": wrapped, "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful"),
            ({"host": "::1", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with"),
            ({"host": "127.0.0.1", "port": 70000}, OverflowError, "port must be 0-65535"),
        ]
        with stream, datagram, wrapped:
            for arguments, kind, text in cases:
                with pytest.raises(kind) as caught:
                    await loop.create_connection(Recorder, **arguments)
                assert text in str(caught.value)

    run(main)


def test_a_factory_that_raises(run: Run, loop_factory: LoopFactory, listener: socket.socket, ledger: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def factory() -> Recorder:
            raise LookupError("no protocol today")

        with pytest.raises(LookupError, match="no protocol today"):
            await loop.create_connection(factory, *listener.getsockname())
        ours, peer = socket.socketpair()
        with ours, peer:
            with pytest.raises(LookupError, match="no protocol today"):
                await loop.create_connection(factory, sock=ours)
            # asyncio closes the sockets from some 3.13 on; before, it left them to the collector.
            assert ours.fileno() == -1 or is_asyncio(loop_factory)

    run(main)
    assert not ledger.take_warnings(ResourceWarning, "unclosed <socket") or is_asyncio(loop_factory)


def test_cancelling_closes_the_socket(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay in (None, 0.01):
            dialler = Dialler()
            dialler.hang = {("127.0.0.1", 1), ("127.0.0.2", 2)}
            with replaced(loop, getaddrinfo=answering(*sorted(dialler.hang)), sock_connect=dialler):
                task = loop.create_task(
                    loop.create_connection(Recorder, "name.example", 80, happy_eyeballs_delay=delay)
                )
                await eventually(
                    lambda delay=delay, dialler=dialler: len(dialler.dialled) == (1 if delay is None else 2)
                )
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await turns()
            assert all(sock.fileno() == -1 for sock in dialler.socks)

    run(main)


def test_cancelling_before_the_protocol_is_there_closes_the_transport(run: Run, listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            loop.call_soon(task.cancel)
            return made[0]

        task = loop.create_task(loop.create_connection(factory, *listener.getsockname()))
        with contextlib.suppress(asyncio.CancelledError):
            transport, _ = await task
            transport.close()
        await made[0].lost
        assert made[0].events == ["made", "lost"]

    run(main)


def test_an_error_that_is_none_of_the_network_goes_through(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def sock_connect(_sock: socket.socket, _address: Any) -> None:
            raise LookupError("none of the network")

        with replaced(loop, getaddrinfo=answering(("127.0.0.1", 1), ("127.0.0.2", 2)), sock_connect=sock_connect):
            with pytest.raises(LookupError, match="none of the network"):
                await loop.create_connection(Recorder, "name.example", 80)

    run(main)


@pytest.fixture
def path() -> Iterator[str]:
    """Where a Unix socket can be bound."""
    with tempfile.TemporaryDirectory(prefix="twin") as folder:
        yield os.path.join(folder, "s")


@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path], ids=["str", "bytes", "Path"])
def test_a_unix_connection(run: Run, path: str, kind: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            transport, protocol = await loop.create_unix_connection(Recorder, kind(path))
            assert protocol.events == ["made"]
            transport.close()
            await protocol.lost

    run(main)


def test_a_unix_path_that_does_not_answer(run: Run, path: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(path)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, path)

    run(main)


def test_unix_arguments_that_contradict_each_other(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        tcp, datagram = socket.socket(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        cases: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({}, ValueError, "no path and sock were specified"),
            ({"path": "p", "sock": object()}, ValueError, "path and sock can not be specified at the same time"),
            ({"sock": tcp}, ValueError, "A UNIX Domain Stream Socket was expected, got <socket.socket"),
            ({"sock": datagram}, ValueError, "A UNIX Domain Stream Socket was expected, got <socket.socket"),
            ({"path": "p", "ssl": True}, ValueError, "you have to pass server_hostname when using ssl"),
            ({"path": "p", "server_hostname": "n"}, ValueError, "server_hostname is only meaningful with ssl"),
            ({"path": "p", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful"),
            ({"path": "p", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful"),
            ({"path": 5}, TypeError, "expected str, bytes or os.PathLike object, not int"),
        ]
        with tcp, datagram:
            for arguments, kind, text in cases:
                with pytest.raises(kind) as caught:
                    await loop.create_unix_connection(Recorder, **arguments)
                assert text in str(caught.value)

    run(main)


def test_debug_mode_says_that_a_connection_was_made(
    run: Run, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        transport, protocol = await asyncio.get_running_loop().create_connection(Recorder, *listener.getsockname())
        transport.close()
        await protocol.lost

    with caplog.at_level("DEBUG", "asyncio"):
        run(main, debug=True)
    assert any("connected to 127.0.0.1:" in text for text in caplog.messages)
