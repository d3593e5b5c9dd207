"""Stream transports: what they are, what they tell about themselves, and what one may do to them."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref

import pytest

from .support import Recorder, Run, connect_pair, eventually, turns

FAMILIES = pytest.mark.parametrize("family", ["tcp", "unix"])


@FAMILIES
def test_it_is_a_transport(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.ReadTransport)
        assert isinstance(transport, asyncio.WriteTransport)
        transport.mine = 5  # type: ignore[attr-defined]
        assert transport.mine == 5  # type: ignore[attr-defined]
        assert weakref.ref(transport)() is transport
        assert isinstance(hash(transport), int)
        with peer:
            transport.close()
            await protocol.lost

    run(main)


@FAMILIES
def test_extra_info(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        with peer:
            assert transport.get_extra_info("sockname") == peer.getpeername()
            assert transport.get_extra_info("peername") == peer.getsockname()
            assert transport.get_extra_info("nonsense") is None
            assert transport.get_extra_info("nonsense", 5) == 5
            assert transport.get_extra_info("sslcontext") is None
            transport.close()
            await protocol.lost
            assert transport.get_extra_info("peername") is not None or family == "unix"

    run(main)


@FAMILIES
def test_the_socket_is_a_transport_socket(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock is transport.get_extra_info("socket")
        assert sock.family == peer.family
        assert sock.type == socket.SOCK_STREAM
        assert sock.fileno() > 0
        assert sock.getsockname() == peer.getpeername()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.gettimeout() == 0
        with pytest.raises(ValueError, match=r"non-blocking|setblocking|settimeout"):
            sock.settimeout(5)
        with peer:
            transport.close()
            await protocol.lost
            await turns()
            assert sock.fileno() == -1

    run(main)


def test_tcp_does_not_delay(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        with peer:
            transport.close()
            await protocol.lost

    run(main)


@FAMILIES
def test_the_socket_is_closed_with_the_transport(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        with peer:
            number = transport.get_extra_info("socket").fileno()
            transport.close()
            await protocol.lost
            await turns()
            with pytest.raises(OSError, match="Bad file descriptor"):
                socket.socket(fileno=number)

    run(main)


def test_repr_tells_the_state(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        number = transport.get_extra_info("socket").fileno()
        assert f"fd={number}" in repr(transport)
        assert "closing" not in repr(transport)
        with peer:
            transport.close()
            assert "clos" in repr(transport)
            await protocol.lost
            await turns()
            assert "closed" in repr(transport)

    run(main)


@FAMILIES
def test_a_closed_transport_is_collected_with_its_protocol(run: Run, family: str) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair(family)
        peer.close()
        await protocol.lost
        await turns()
        refs = weakref.ref(transport), weakref.ref(protocol)
        del transport, protocol
        gc.collect()
        assert [ref() for ref in refs] == [None, None]

    run(main)


def test_force_close_is_there_for_the_standard_librarys_ssl(run: Run) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect_pair("tcp")
        with peer:
            error = ZeroDivisionError()
            transport._force_close(error)  # type: ignore[attr-defined]
            assert await protocol.lost is error

    run(main)


def test_a_transport_of_a_server_knows_both_ends(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        accepted: list[Recorder] = []

        def factory() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        async with server:
            client, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            client.write(b"x")
            await eventually(lambda: accepted)
            await accepted[0].received(1)
            served = accepted[0].transport
            assert served.get_extra_info("peername") == client.get_extra_info("sockname")
            assert served.get_extra_info("sockname") == client.get_extra_info("peername")
            assert isinstance(served, asyncio.Transport)
            sock = served.get_extra_info("socket")
            assert isinstance(sock, asyncio.trsock.TransportSocket)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            client.close()
            await protocol.lost
            await accepted[0].lost

    run(main)
