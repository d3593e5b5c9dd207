"""create_server, create_unix_server and the Server that they return."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import pathlib
import socket
import ssl
import stat
import sys
import tempfile
from asyncio import trsock
from collections.abc import Iterator
from typing import Any

import pytest

from .support import LoopFactory, Recorder, Run, eventually, turns
from .versions import asyncio_has_it_since


class Servant(Recorder):
    """A recorder that can be found again by its test."""

    made: list[Servant] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.made.append(self)


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    Servant.made.clear()
    yield
    Servant.made.clear()


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder whose name is short enough for the address of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="twin") as name:
        yield name


async def client_of(server: asyncio.Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a TCP server, and wait until it knows."""
    before = len(Servant.made)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    await eventually(lambda: len(Servant.made) > before)
    return reader, writer


async def gone(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def test_a_server_accepts_and_tells_where_it_listens(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0)
        assert isinstance(server, asyncio.Server)
        assert isinstance(server, asyncio.AbstractServer)
        assert server.get_loop() is loop
        assert server.is_serving()
        (sock,) = server.sockets
        assert isinstance(sock, trsock.TransportSocket)
        assert isinstance(server.sockets, tuple)
        assert sock.getsockname()[0] == "127.0.0.1"
        assert "Server sockets=" in repr(server)
        _, writer = await client_of(server)
        assert Servant.made[0].transport.get_extra_info("sockname") == sock.getsockname()
        writer.write(b"hello")
        await Servant.made[0].received(5)
        await gone(writer)
        await Servant.made[0].lost
        server.close()
        assert server.sockets == ()
        assert not server.is_serving()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("backlog", [-1, 0, 1, 1 << 20])
def test_any_backlog(run: Run, backlog: int) -> None:
    """The kernel takes it as it comes, a negative one too."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0, backlog=backlog)
        assert server.is_serving()
        server.close()

    run(main)


def test_a_closed_server_refuses_and_can_be_closed_again(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        server.close()
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()
        await server.wait_closed()

    run(main)


def test_a_server_that_does_not_serve_yet(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        _, writer = await client_of(server)
        await gone(writer)
        await Servant.made[0].lost
        server.close()

    run(main)


def test_a_server_that_never_served_can_be_closed(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Servant, "127.0.0.1", 0, start_serving=False)
        server.close()
        assert server.sockets == ()

    run(main)


def test_async_with_closes(run: Run) -> None:
    async def main() -> None:
        async with await asyncio.get_running_loop().create_server(Servant, "127.0.0.1", 0) as server:
            assert server.is_serving()
        assert not server.is_serving()
        assert server.sockets == ()

    run(main)


def test_serve_forever_until_cancelled(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0, start_serving=False)
        task = loop.create_task(server.serve_forever())
        await turns()
        assert server.is_serving()
        with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
            await server.serve_forever()
        _, writer = await client_of(server)
        await gone(writer)
        await Servant.made[0].lost
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.sockets == ()

    run(main)


def test_closing_ends_serve_forever(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0)
        task = loop.create_task(server.serve_forever())
        await turns()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_wait_closed(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0)
        _, writer = await client_of(server)
        open_still = loop.create_task(server.wait_closed())
        await turns()
        assert not open_still.done()
        server.close()
        closed = loop.create_task(server.wait_closed())
        await turns()
        assert not open_still.done()
        # Before 3.12 a closed server was not waited for.
        assert closed.done() == (sys.version_info < (3, 12))
        await gone(writer)
        await asyncio.wait_for(asyncio.gather(open_still, closed), 5)
        await server.wait_closed()

    run(main)


def test_wait_closed_without_connections(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0)
        waiting = loop.create_task(server.wait_closed())
        await turns()
        assert not waiting.done()
        server.close()
        await asyncio.wait_for(waiting, 5)

    run(main)


def test_close_clients(run: Run, loop_factory: LoopFactory) -> None:
    asyncio_has_it_since(loop_factory, 3, 13)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server: Any = await loop.create_server(Servant, "127.0.0.1", 0)
        clients = [await client_of(server) for _ in range(3)]
        Servant.made[0].transport.write(b"goodbye")
        server.close()
        server.close_clients()
        await asyncio.wait_for(server.wait_closed(), 5)
        assert await clients[0][0].read() == b"goodbye"
        for reader, writer in clients[1:]:
            assert await reader.read() == b""
            await gone(writer)
        await gone(clients[0][1])
        assert [await servant.lost for servant in Servant.made] == [None] * 3

    run(main)


def test_abort_clients(run: Run, loop_factory: LoopFactory) -> None:
    asyncio_has_it_since(loop_factory, 3, 13)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server: Any = await loop.create_server(Servant, "127.0.0.1", 0)
        _, writer = await client_of(server)
        Servant.made[0].transport.write(b"x" * 50_000_000)
        assert Servant.made[0].transport.get_write_buffer_size() > 0
        waiting = loop.create_task(server.wait_closed())
        server.close()
        server.abort_clients()
        await asyncio.wait_for(waiting, 5)
        assert await asyncio.wait_for(Servant.made[0].lost, 5) is None
        writer.transport.abort()
        await turns()

    run(main)


def test_clients_that_left_are_forgotten(run: Run, loop_factory: LoopFactory) -> None:
    asyncio_has_it_since(loop_factory, 3, 13)

    async def main() -> None:
        server: Any = await asyncio.get_running_loop().create_server(Servant, "127.0.0.1", 0)
        for _ in range(20):
            _, writer = await client_of(server)
            await gone(writer)
            await Servant.made.pop().lost
        await eventually(lambda: not server._clients)
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)

    run(main)


@pytest.mark.parametrize("host", ["", None], ids=repr)
def test_no_host_means_all_interfaces_of_both_families(run: Run, host: str | None) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, host, 0)
        families = {sock.family for sock in server.sockets}
        expected = {info[0] for info in socket.getaddrinfo(None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)}
        assert families == expected
        for sock in server.sockets:
            if sock.family == socket.AF_INET6:
                assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        server.close()

    run(main)


def test_one_port_on_both_families(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(Servant, "127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        second = await loop.create_server(Servant, "::1", port)
        assert second.sockets[0].getsockname()[1] == port
        first.close()
        second.close()

    run(main)


def test_several_hosts_each_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        probe = await loop.create_server(Servant, "127.0.0.1", 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
        server = await loop.create_server(Servant, iter(hosts), port)
        assert sorted(sock.getsockname()[0] for sock in server.sockets) == ["127.0.0.1", "127.0.0.2"]
        server.close()

    run(main)


def test_hosts_are_resolved_through_the_instance(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked: list[Any] = []

        async def getaddrinfo(host: str, port: int, **options: int) -> Any:
            asked.append((host, port, options["type"], options["flags"]))
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

        loop.getaddrinfo = getaddrinfo  # type: ignore[assignment, method-assign]
        try:
            server = await loop.create_server(Servant, ["one.example", "two.example", "127.0.0.1"], 0)
        finally:
            del loop.getaddrinfo
        flags = socket.AI_PASSIVE
        assert sorted(asked) == [(f"{name}.example", 0, socket.SOCK_STREAM, flags) for name in ("one", "two")]
        assert len(server.sockets) == 1
        server.close()

    run(main)


def test_a_host_without_addresses(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*_args: object, **_options: object) -> Any:
            return []

        loop.getaddrinfo = getaddrinfo  # type: ignore[assignment, method-assign]
        try:
            with pytest.raises(OSError, match=r"getaddrinfo\('nowhere.example'\) returned empty list"):
                await loop.create_server(Servant, "nowhere.example", 0)
        finally:
            del loop.getaddrinfo

    run(main)


def test_an_address_in_use_is_named(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = taken.getsockname()
            with pytest.raises(OSError) as caught:
                await loop.create_server(Servant, ["127.0.0.2", "127.0.0.1"], address[1])
        assert caught.value.errno == errno.EADDRINUSE
        assert f"error while attempting to bind on address {address!r}: " in str(caught.value)
        assert "address already in use" in str(caught.value)

    run(main)


def test_an_address_that_is_not_here(run: Run, loop_factory: LoopFactory) -> None:
    asyncio_has_it_since(loop_factory, 3, 13)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError, match=r"could not bind on any address out of \[\('192.0.2.1', 80\)\]"):
            await loop.create_server(Servant, "192.0.2.1", 80)
        server = await loop.create_server(Servant, ["192.0.2.1", "127.0.0.1"], 0)
        assert [sock.getsockname()[0] for sock in server.sockets] == ["127.0.0.1"]
        server.close()

    run(main)


def test_options_of_the_sockets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def options(**wanted: bool) -> tuple[bool, bool]:
            server = await loop.create_server(Servant, "127.0.0.1", 0, **wanted)
            (sock,) = server.sockets
            server_options = [socket.SO_REUSEADDR, socket.SO_REUSEPORT]
            got = tuple(bool(sock.getsockopt(socket.SOL_SOCKET, option)) for option in server_options)
            assert not sock.get_inheritable()
            assert sock.gettimeout() == 0
            server.close()
            return got[0], got[1]

        assert await options() == (True, False)
        assert await options(reuse_address=False) == (False, False)
        assert await options(reuse_address=True, reuse_port=True) == (True, True)

    run(main)


def test_keep_alive(run: Run, loop_factory: LoopFactory) -> None:
    asyncio_has_it_since(loop_factory, 3, 13)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for wanted in (None, False, True):
            server = await loop.create_server(Servant, "127.0.0.1", 0, keep_alive=wanted)
            _, writer = await client_of(server)
            sock = Servant.made[-1].transport.get_extra_info("socket")
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) == bool(wanted)
            await gone(writer)
            await Servant.made[-1].lost
            server.close()

    run(main)


def test_a_socket_of_ones_own(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Servant, sock=sock)
        _, writer = await client_of(server)
        await gone(writer)
        await Servant.made[0].lost
        assert not sock.getblocking()
        server.close()
        assert sock.fileno() == -1

    run(main)


def test_connections_are_served_in_the_context_of_the_server(run: Run, loop_factory: LoopFactory) -> None:
    asyncio_has_it_since(loop_factory, 3, 15)
    variable = contextvars.ContextVar("variable", default="unset")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        class Curious(Servant):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                seen.append(variable.get())
                variable.set("set by a connection")
                super().connection_made(transport)

            def data_received(self, data: bytes) -> None:
                seen.append(variable.get())
                super().data_received(data)

        variable.set("when the server was made")
        server = await loop.create_server(Curious, "127.0.0.1", 0, start_serving=False)
        variable.set("when it began to serve")
        await server.start_serving()
        for _ in range(2):
            _, writer = await client_of(server)
            writer.write(b"x")
            await Servant.made[-1].received(1)
            await gone(writer)
            await Servant.made[-1].lost
        assert seen == ["when the server was made", "set by a connection"] * 2
        assert variable.get() == "when it began to serve"
        server.close()

    run(main)


def test_arguments_that_contradict_each_other(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        stream, datagram = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        context = ssl.create_default_context()
        wrapped = context.wrap_socket(socket.socket(), server_hostname="name", do_handshake_on_connect=False)
        cases: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({}, ValueError, "Neither host/port nor sock were specified"),
            ({"host": "::1", "sock": stream}, ValueError, "host/port and sock can not be specified at the same time"),
            ({"port": 0, "sock": object()}, ValueError, "host/port and sock can not be specified at the same time"),
            ({"sock": datagram}, ValueError, "A Stream Socket was expected, got <socket.socket"),
            ({"sock": wrapped}, TypeError, "Socket cannot be of type SSLSocket"),
            ({"sock": wrapped, "host": "::1"}, TypeError, "Socket cannot be of type SSLSocket"),
            ({"port": 0, "ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
            ({"ssl": False, "ssl_handshake_timeout": 1}, TypeError, "ssl argument must be an SSLContext or None"),
            ({"ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
            ({"ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
        ]
        with stream, datagram, wrapped:
            for arguments, kind, text in cases:
                with pytest.raises(kind) as caught:
                    await loop.create_server(Servant, **arguments)
                assert text in str(caught.value)

    run(main)


def test_a_socket_cannot_be_served_twice_at_one_address(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Servant, "127.0.0.1", 0)
        with pytest.raises(OSError) as caught:
            await loop.create_server(Servant, *server.sockets[0].getsockname())
        assert caught.value.errno == errno.EADDRINUSE
        server.close()

    run(main)


def test_a_unix_server(run: Run, folder: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = os.path.join(folder, "s")
        server = await loop.create_unix_server(Servant, path)
        assert server.sockets[0].getsockname() == path
        transport, client = await loop.create_unix_connection(Recorder, path)
        await eventually(lambda: Servant.made)
        Servant.made[0].transport.write(b"hello")
        assert await client.received(5) == b"hello"
        transport.close()
        await Servant.made[0].lost
        server.close()
        await server.wait_closed()
        # Only a newer asyncio tidies up unless told not to, and tepal goes with the Python it runs on.
        assert os.path.exists(path) == (sys.version_info < (3, 13))

    run(main)


@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path], ids=["str", "bytes", "Path"])
def test_kinds_of_paths(run: Run, folder: str, kind: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = kind(os.path.join(folder, "s"))
        server = await loop.create_unix_server(Servant, path)
        transport, client = await loop.create_unix_connection(Recorder, path)
        await eventually(lambda: Servant.made)
        transport.close()
        await client.lost
        await Servant.made[0].lost
        server.close()

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
@pytest.mark.parametrize("kind", [str, os.fsencode], ids=["str", "bytes"])
def test_an_abstract_name(run: Run, kind: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        name = kind(f"\0twin-{os.getpid()}")
        server = await loop.create_unix_server(Servant, name)
        transport, client = await loop.create_unix_connection(Recorder, name)
        await eventually(lambda: Servant.made)
        transport.close()
        await client.lost
        await Servant.made[0].lost
        server.close()
        await server.wait_closed()

    run(main)


def test_a_stale_socket_is_replaced(run: Run, folder: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        server = await loop.create_unix_server(Servant, path)
        server.close()

    run(main)


def test_another_file_is_not_replaced(run: Run, folder: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = os.path.join(folder, "s")
        pathlib.Path(path).write_text("precious")
        with pytest.raises(OSError, match=f"Address {path!r} is already in use") as caught:
            await loop.create_unix_server(Servant, path)
        assert caught.value.errno == errno.EADDRINUSE
        assert pathlib.Path(path).read_text() == "precious"

    run(main)


def test_a_path_that_cannot_be(run: Run, folder: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Servant, os.path.join(folder, "nowhere", "s"))
        with pytest.raises(OSError, match="path too long"):
            await loop.create_unix_server(Servant, os.path.join(folder, "s" * 200))

    run(main)


def test_cleaning_up(run: Run, loop_factory: LoopFactory, folder: str) -> None:
    asyncio_has_it_since(loop_factory, 3, 13)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        path = os.path.join(folder, "s")

        (await loop.create_unix_server(Servant, path, cleanup_socket=True)).close()
        assert not os.path.exists(path)

        (await loop.create_unix_server(Servant, path, cleanup_socket=False)).close()
        assert os.path.exists(path)

        mine = socket.socket(socket.AF_UNIX)
        mine.bind(path + "2")
        (await loop.create_unix_server(Servant, sock=mine, cleanup_socket=True)).close()
        assert not os.path.exists(path + "2")

        server = await loop.create_unix_server(Servant, path, cleanup_socket=True)
        os.unlink(path)
        server.close()

        server = await loop.create_unix_server(Servant, path, cleanup_socket=True, start_serving=False)
        os.rename(path, path + "3")  # so that its successor cannot get the same inode
        successor = await loop.create_unix_server(Servant, path, cleanup_socket=True)
        server.close()
        assert os.path.exists(path)
        successor.close()
        assert not os.path.exists(path)

    run(main)


def test_permissions(run: Run, loop_factory: LoopFactory, folder: str) -> None:
    asyncio_has_it_since(loop_factory, 3, 16)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        path = os.path.join(folder, "s")
        for mode in (0o600, 0o777):
            server = await loop.create_unix_server(Servant, path, mode=mode, start_serving=False)
            assert stat.S_IMODE(os.stat(path).st_mode) == mode
            server.close()
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ValueError):
            await loop.create_unix_server(Servant, sock=sock, mode=0o600)
        with pytest.raises(ValueError):
            await loop.create_unix_server(Servant, "\0abstract", mode=0o600)

    run(main)


def test_unix_arguments_that_contradict_each_other(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        tcp, datagram = socket.socket(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        cases: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({}, ValueError, "path was not specified, and no sock specified"),
            ({"path": "p", "sock": object()}, ValueError, "path and sock can not be specified at the same time"),
            ({"sock": tcp}, ValueError, "A UNIX Domain Stream Socket was expected, got <socket.socket"),
            ({"sock": datagram}, ValueError, "A UNIX Domain Stream Socket was expected, got <socket.socket"),
            ({"path": "p", "ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
            ({"path": "p", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful"),
            ({"path": "p", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful"),
            ({"path": 5}, TypeError, "expected str, bytes or os.PathLike object, not int"),
        ]
        with tcp, datagram:
            for arguments, kind, text in cases:
                with pytest.raises(kind) as caught:
                    await loop.create_unix_server(Servant, **arguments)
                assert text in str(caught.value)

    run(main)


def test_an_accepted_socket(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        with peer:
            transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
            assert protocol.events == ["made"]
            peer.sendall(b"hello")
            assert await protocol.received(5) == b"hello"
            transport.close()
            await protocol.lost
        with socket.socket(type=socket.SOCK_DGRAM) as datagram:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await loop.connect_accepted_socket(Recorder, datagram)
        with socket.socket() as stream, pytest.raises(ValueError, match="ssl_handshake_timeout is only"):
            await loop.connect_accepted_socket(Recorder, stream, ssl_handshake_timeout=1)

    run(main)


def test_debug_mode_says_that_a_server_serves(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        (await asyncio.get_running_loop().create_server(Servant, "127.0.0.1", 0)).close()

    with caplog.at_level("INFO", "asyncio"):
        run(main, debug=True)
    assert any("is serving" in text for text in caplog.messages)
