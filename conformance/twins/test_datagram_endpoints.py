"""``create_datagram_endpoint``: what its arguments mean, and in which order they are refused."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from .conftest import Ledger
from .support import Datagrams, Run, udp_socket
from .versions import asyncio_has_it_since, is_asyncio


def never() -> NoReturn:
    raise AssertionError("the factory must not be called")


def divide_by_zero() -> NoReturn:
    raise ZeroDivisionError


async def endpoint(**arguments: Any) -> tuple[Any, Datagrams]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, **arguments)
    assert protocol.events == ["made"]
    assert protocol.transport is transport
    return transport, protocol


async def close(*pairs: tuple[Any, Datagrams]) -> None:
    for transport, protocol in pairs:
        transport.close()
        assert await protocol.ended() is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_and_a_client(run: Run, host: str) -> None:
    async def main() -> None:
        server, serving = await endpoint(local_addr=(host, 0))
        client, asking = await endpoint(remote_addr=server.get_extra_info("sockname")[:2])
        client.sendto(b"question")
        assert await serving.datagrams(1) == [b"question"]
        assert serving.senders == [client.get_extra_info("sockname")]
        assert len(serving.senders[0]) == (4 if ":" in host else 2)
        server.sendto(b"answer", serving.senders[0])
        assert await asking.datagrams(1) == [b"answer"]
        assert asking.senders == [server.get_extra_info("sockname")]
        await close((server, serving), (client, asking))

    run(main)


def test_a_name_is_resolved(run: Run) -> None:
    async def main() -> None:
        server, serving = await endpoint(local_addr=("localhost", 0), family=socket.AF_INET)
        port = server.get_extra_info("sockname")[1]
        client, asking = await endpoint(remote_addr=("localhost", port), family=socket.AF_INET)
        assert client.get_extra_info("peername") == ("127.0.0.1", port)
        client.sendto(b"x")
        assert await serving.datagrams(1) == [b"x"]
        await close((server, serving), (client, asking))

    run(main)


def test_the_loops_own_getaddrinfo_is_asked_about_names_and_not_about_literals(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        asked: list[tuple[Any, ...]] = []

        async def getaddrinfo(host: str, port: int, **hints: int) -> list[Any]:
            asked.append((host, port, hints))
            kind = socket.SOCK_DGRAM
            return [
                (socket.AF_INET, kind, 17, "", ("127.0.0.9", 0)),
                (socket.AF_INET, kind, 17, "", ("127.0.0.1", port)),
            ]

        loop.getaddrinfo = getaddrinfo
        first = await endpoint(local_addr=("127.0.0.1", 0))
        assert asked == []
        second = await endpoint(local_addr=("a.name", 0), proto=17, flags=socket.AI_PASSIVE)
        hints = {"family": 0, "type": socket.SOCK_DGRAM, "proto": 17, "flags": socket.AI_PASSIVE}
        assert asked == [("a.name", 0, hints)]
        assert second[0].get_extra_info("sockname")[0] == "127.0.0.1", "the last address of a family counts"
        await close(first, second)

    run(main)


def test_no_address_but_a_family(run: Run) -> None:
    async def main() -> None:
        with udp_socket() as peer:
            transport, protocol = await endpoint(family=socket.AF_INET)
            assert transport.get_extra_info("sockname") == ("0.0.0.0", 0)
            assert transport.get_extra_info("peername") is None
            transport.sendto(b"x", peer.getsockname())
            data, sender = await asyncio.to_thread(peer.recvfrom, 10)
            assert data == b"x"
            peer.sendto(b"y", ("127.0.0.1", sender[1]))
            assert await protocol.datagrams(1) == [b"y"]
            await close((transport, protocol))

    run(main)


def test_the_next_address_is_tried(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        taken = udp_socket("::1")

        async def getaddrinfo(host: str, port: int, **_: int) -> list[Any]:
            kind = socket.SOCK_DGRAM
            return [
                (socket.AF_INET6, kind, 17, "", (*taken.getsockname()[:2], 0, 0)),
                (socket.AF_INET, kind, 17, "", ("127.0.0.1", 0)),
            ]

        loop.getaddrinfo = getaddrinfo
        with taken:
            transport, protocol = await endpoint(local_addr=("a.name", 0))
            assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
            await close((transport, protocol))

    run(main)


def test_the_first_failure_is_raised(run: Run) -> None:
    async def main() -> None:
        with udp_socket() as taken, pytest.raises(OSError) as caught:
            await asyncio.get_running_loop().create_datagram_endpoint(never, local_addr=taken.getsockname())
        assert caught.value.errno == 98

    run(main)


def test_both_ends_must_have_an_address_of_one_family(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="can not get address information"):
            await loop.create_datagram_endpoint(never, local_addr=("127.0.0.1", 0), remote_addr=("::1", 1))

    run(main)


def test_reuse_port(run: Run) -> None:
    async def main() -> None:
        first = await endpoint(local_addr=("127.0.0.1", 0), reuse_port=True)
        second = await endpoint(local_addr=first[0].get_extra_info("sockname"), reuse_port=True)
        await close(first, second)

    run(main)


def test_a_broadcaster_is_not_connected(run: Run) -> None:
    async def main() -> None:
        with udp_socket() as peer, udp_socket() as stranger:
            transport, protocol = await endpoint(
                local_addr=("127.0.0.1", 0), remote_addr=peer.getsockname(), allow_broadcast=True
            )
            assert transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
            assert transport.get_extra_info("peername") is None
            transport.sendto(b"to the address")
            assert peer.recv(100) == b"to the address"
            with pytest.raises(ValueError, match="must be None or"):
                transport.sendto(b"x", stranger.getsockname())
            stranger.sendto(b"from anywhere", transport.get_extra_info("sockname"))
            assert await protocol.datagrams(1) == [b"from anywhere"]
            await close((transport, protocol))

    run(main)


def test_a_socket(run: Run) -> None:
    async def main() -> None:
        with udp_socket() as peer:
            sock = udp_socket()
            transport, protocol = await endpoint(sock=sock)
            assert sock.gettimeout() == 0
            transport.sendto(b"x", peer.getsockname())
            assert peer.recvfrom(10) == (b"x", sock.getsockname())
            await close((transport, protocol))
            assert sock.fileno() == -1

    run(main)


def test_a_connected_socket_sends_to_its_peer_whatever_address_is_given(run: Run) -> None:
    async def main() -> None:
        with udp_socket() as peer, udp_socket() as other:
            sock = udp_socket()
            sock.connect(peer.getsockname())
            transport, protocol = await endpoint(sock=sock)
            assert transport.get_extra_info("peername") == peer.getsockname()
            transport.sendto(b"1")
            transport.sendto(b"2", other.getsockname())
            assert [peer.recv(10), peer.recv(10)] == [b"1", b"2"]
            await close((transport, protocol))

    run(main)


def test_unix_paths(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        paths = [str(tmp_path / name) for name in ("server", "client")]
        server, serving = await endpoint(local_addr=paths[0], family=socket.AF_UNIX)
        client, asking = await endpoint(local_addr=paths[1], remote_addr=paths[0], family=socket.AF_UNIX)
        assert server.get_extra_info("sockname") == paths[0]
        assert client.get_extra_info("peername") == paths[0]
        client.sendto(b"question")
        assert await serving.datagrams(1) == [b"question"]
        assert serving.senders == [paths[1]]
        server.sendto(b"answer", paths[1])
        assert await asking.datagrams(1) == [b"answer"]
        await close((server, serving), (client, asking))

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_abstract_unix_names(run: Run) -> None:
    async def main() -> None:
        name = f"\0tepal-{os.getpid()}"
        server, serving = await endpoint(local_addr=name, family=socket.AF_UNIX)
        client, asking = await endpoint(remote_addr=name, family=socket.AF_UNIX)
        client.sendto(b"x")
        assert await serving.datagrams(1) == [b"x"]
        assert serving.senders == [None], "the client has no name"
        await close((server, serving), (client, asking))

    run(main)


def test_a_stale_unix_socket_is_replaced_and_no_other_file(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        await close(await endpoint(local_addr=str(path), family=socket.AF_UNIX))
        assert path.is_socket(), "the file stays, as in asyncio"
        await close(await endpoint(local_addr=str(path), family=socket.AF_UNIX))
        path.unlink()
        path.write_text("mine")
        with pytest.raises(OSError) as caught:
            await endpoint(local_addr=str(path), family=socket.AF_UNIX)
        assert caught.value.errno == 98
        assert path.read_text() == "mine"

    run(main)


def test_a_stale_unix_socket_that_cannot_be_looked_at(run: Run, ledger: Ledger) -> None:
    async def main() -> None:
        with pytest.raises(OSError):
            await endpoint(local_addr="x" * 300, family=socket.AF_UNIX)

    run(main)
    (record,) = ledger.take_logs("Unable to check or remove stale UNIX socket")
    assert record.levelname == "ERROR"


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, ValueError, "unexpected address family"),
    ({"local_addr": "127.0.0.1"}, TypeError, "2-tuple is expected"),
    ({"local_addr": ["127.0.0.1", 0]}, TypeError, "2-tuple is expected"),
    ({"remote_addr": ("127.0.0.1", 1, 2)}, TypeError, "2-tuple is expected"),
    ({"local_addr": ("::1", 0, 0, 0)}, TypeError, "2-tuple is expected"),
    ({"local_addr": b"/path", "family": socket.AF_UNIX}, TypeError, "string is expected"),
    ({"local_addr": "/path", "remote_addr": ("h", 1), "family": socket.AF_UNIX}, TypeError, "string is expected"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), REFUSED, ids=[str(entry[0]) for entry in REFUSED])
def test_what_is_refused(run: Run, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    async def main() -> None:
        with pytest.raises(error, match=f"^{text}$"):
            await asyncio.get_running_loop().create_datagram_endpoint(never, **arguments)

    run(main)


BESIDE: list[dict[str, Any]] = [
    {"local_addr": ("127.0.0.1", 0)},
    {"remote_addr": ("127.0.0.1", 1)},
    {"family": socket.AF_INET},
    {"proto": 17},
    {"flags": socket.AI_PASSIVE},
    {"reuse_port": True},
    {"allow_broadcast": True, "flags": 1},
]


@pytest.mark.parametrize("arguments", BESIDE, ids=str)
def test_what_is_refused_beside_a_socket(run: Run, arguments: dict[str, Any]) -> None:
    async def main() -> str:
        with udp_socket() as sock, pytest.raises(ValueError, match="when sock is specified") as caught:
            await asyncio.get_running_loop().create_datagram_endpoint(never, sock=sock, **arguments)
        return str(caught.value)

    problems = ", ".join(f"{name}={arguments[name]}" for name in ("flags", "allow_broadcast") if name in arguments)
    text = run(main)
    assert text.endswith(f"({problems})") if problems else text.endswith(")")


def test_a_stream_is_refused_first(run: Run) -> None:
    async def main() -> None:
        expected = "A datagram socket was expected" if sys.version_info >= (3, 13) else "A UDP Socket was expected"
        with socket.socket() as sock, pytest.raises(ValueError, match=f"{expected}, got <socket"):
            await asyncio.get_running_loop().create_datagram_endpoint(never, sock=sock, family=socket.AF_INET)

    run(main)


def test_a_socket_of_another_transport_is_refused(run: Run, loop_factory: Any) -> None:
    asyncio_has_it_since(loop_factory, 3, 12)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        sock = udp_socket()
        transport, protocol = await endpoint(sock=sock)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.create_datagram_endpoint(Datagrams, sock=sock)
        for call in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                call(sock, print)
        await close((transport, protocol))

    run(main)


def test_a_factory_that_raises(run: Run, loop_factory: Any, ledger: Ledger) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError):
            await loop.create_datagram_endpoint(divide_by_zero, local_addr=("127.0.0.1", 0))
        with udp_socket() as sock:
            with pytest.raises(ZeroDivisionError):
                await loop.create_datagram_endpoint(divide_by_zero, sock=sock)
            assert sock.fileno() != -1, "a socket that was handed in stays with its owner"

    run(main)
    if is_asyncio(loop_factory):  # it forgets the socket that it has made
        ledger.take_warnings(ResourceWarning, "unclosed <socket")


def test_cancelled_while_it_is_made(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Datagrams] = []

        def factory() -> Datagrams:
            made.append(Datagrams())
            return made[0]

        task = loop.create_task(loop.create_datagram_endpoint(factory, local_addr=("127.0.0.1", 0)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await made[0].ended() is None
        assert made[0].events == ["made", "lost"]

    run(main)


def test_debug_mode_tells_of_an_endpoint(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=("127.0.0.1", 0))
        client = await endpoint(remote_addr=server[0].get_extra_info("sockname"))
        await close(server, client)

    with caplog.at_level("DEBUG", "asyncio"):
        run(main, debug=True)
    told = [(r.levelname, r.getMessage()) for r in caplog.records if r.getMessage().startswith("Datagram endpoint")]
    assert [level for level, _ in told] == ["INFO", "DEBUG"]
    assert told[0][1].startswith("Datagram endpoint local_addr=('127.0.0.1', 0) remote_addr=None created: (<")
    assert told[1][1].startswith("Datagram endpoint remote_addr=('127.0.0.1', ")
