"""TLS: servers with clients, sockets that others have accepted, and sendfile."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Ledger
from .support import LoopFactory, Recorder, Run, eventually, socket_pair, turns
from .tls_support import FAMILIES, Contexts, close_both, collect_reports, expected_engine, payload, tls_pair
from .versions import asyncio_has_it_since, is_asyncio


async def serving(tls: Contexts, **keywords: Any) -> tuple[asyncio.Server, list[Recorder], Any]:
    """A server, the protocols it makes, and its address."""
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls.server(), **keywords)
    return server, made, server.sockets[0].getsockname()


async def client_of(tls: Contexts, address: Any, **keywords: Any) -> Recorder:
    """A connected client."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(Recorder, *address, ssl=tls.client(), **keywords)
    return protocol


def test_a_closed_server_keeps_its_connections(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        server, made, address = await serving(tls)
        client = await client_of(tls, address)
        await eventually(lambda: made and made[0].transport)
        server.close()
        client.transport.write(b"still here")
        assert await made[0].received(10) == b"still here"
        with pytest.raises(ConnectionRefusedError):
            await client_of(tls, address)
        await close_both(client, made[0])
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_a_server_ends_its_connections(run: Run, loop_factory: LoopFactory, tls: Contexts, method: str) -> None:
    asyncio_has_it_since(loop_factory, 3, 13)

    async def main() -> None:
        server, made, address = await serving(tls)
        clients = [await client_of(tls, address) for _ in range(3)]
        await eventually(lambda: len(made) == 3 and all(protocol.transport for protocol in made))
        server.close()
        getattr(server, method)()
        for protocol in [*clients, *made]:
            await protocol.lost
            assert protocol.events.count("lost") == 1
        await server.wait_closed()

    run(main)


def test_a_server_that_closes_in_the_handshake(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        server, made, address = await serving(tls, ssl_handshake_timeout=0.05)
        with socket.create_connection(address) as half_open:
            await eventually(lambda: made)
            server.close()
            half_open.settimeout(5)
            await turns(3)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(half_open.recv, 100) == b""
            await server.wait_closed()
            assert made[0].events == []
            assert reports == []

    run(main)


def test_the_handshakes_time_limit_of_a_server(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        server, _, address = await serving(tls, ssl_handshake_timeout=0.03)
        with socket.create_connection(address) as half_open:
            half_open.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(half_open.recv, 100) == b""
        # Others are served meanwhile.
        client = await client_of(tls, address)
        await close_both(client)
        server.close()
        await server.wait_closed()
        assert reports == []

    run(main)


def test_a_server_that_does_not_start_at_once(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        server, made, address = await serving(tls, start_serving=False)
        assert not server.is_serving()
        await server.start_serving()
        client = await client_of(tls, address)
        client.transport.write(b"hello")
        await eventually(lambda: made and made[0].data)
        await close_both(client, made[0])
        server.close()
        await server.wait_closed()

    run(main)


def test_a_server_without_descriptors_keeps_its_context(
    run: Run, tls: Contexts, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    """It rests for a while when no descriptor is left, and goes on over TLS after that."""
    import resource

    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.05)

    async def main() -> None:
        reports = collect_reports()
        server, made, address = await serving(tls)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        waiting = [socket.create_connection(address) for _ in range(2)]
        highest = max(sock.fileno() for sock in waiting)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            await eventually(lambda: reports)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert reports[0]["exception"].errno == errno.EMFILE
        for sock in waiting:
            sock.close()
        client = await asyncio.wait_for(client_of(tls, address), 10)
        client.transport.write(b"after the rest")
        await eventually(lambda: any(protocol.data == b"after the rest" for protocol in made))
        await close_both(client)
        server.close()
        await server.wait_closed()

    run(main)


@FAMILIES
def test_a_socket_that_somebody_else_accepted(run: Run, loop_factory: LoopFactory, tls: Contexts, family: str) -> None:
    async def main() -> None:
        ours, theirs = socket_pair(family)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        (accepted, server), (_, client) = await asyncio.gather(
            loop.connect_accepted_socket(Recorder, theirs, ssl=tls.server()),
            loop.create_connection(Recorder, sock=ours, ssl=tls.client(), server_hostname="localhost"),
        )
        assert accepted.get_extra_info("ssl_object").server_side
        assert accepted.get_extra_info("tls_engine") == expected_engine(loop_factory, tls)
        client.transport.write(b"hello")
        assert await server.received(5) == b"hello"
        await close_both(client, server)

    run(main)


def test_a_factory_that_raises_in_a_server(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """Only debug mode says so, as without TLS."""
    if is_asyncio(loop_factory):
        pytest.skip("asyncio leaves the accepted socket to the collector")

    async def main() -> None:
        reports = collect_reports()

        def factory() -> asyncio.Protocol:
            raise LookupError("no protocol")

        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls.server())
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await client_of(tls, server.sockets[0].getsockname())
        loop.set_debug(True)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await client_of(tls, server.sockets[0].getsockname())
        loop.set_debug(False)
        server.close()
        await server.wait_closed()
        (report,) = reports
        assert str(report["exception"]) == "no protocol"

    run(main)


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_sendfile(run: Run, tls: Contexts, tmp_path: Path, size: int) -> None:
    """There is nothing for the kernel to do; the fallback reads and writes."""
    path = tmp_path / "file"
    path.write_bytes(payload(size))

    async def main() -> None:
        client, server = await tls_pair(tls)
        loop = asyncio.get_running_loop()
        with path.open("rb") as file:
            client.transport.write(b"before;")
            assert await loop.sendfile(client.transport, file) == size
            client.transport.write(b";after")
            assert file.tell() == size
            assert await server.received(size + 13) == b"before;" + payload(size) + b";after"
        await close_both(client, server)

    run(main)


def test_a_part_of_a_file(run: Run, tls: Contexts, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(payload(100_000))

    async def main() -> None:
        client, server = await tls_pair(tls)
        loop = asyncio.get_running_loop()
        with path.open("rb") as file:
            assert await loop.sendfile(client.transport, file, 1000, 5000) == 5000
            assert file.tell() == 6000
            assert await server.received(5000) == payload(6000)[1000:]
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(client.transport, file, fallback=False)
        memory = io.BytesIO(payload(70_000))
        assert await loop.sendfile(client.transport, memory) == 70_000
        await server.received(75_000)
        await close_both(client, server)

    run(main)


def test_sendfile_to_a_connection_that_ends(run: Run, loop_factory: LoopFactory, tls: Contexts, tmp_path: Path) -> None:
    if is_asyncio(loop_factory):
        pytest.skip("asyncio may swallow the rest of the file and call it sent")
    path = tmp_path / "file"
    path.write_bytes(bytes(20_000_000))

    async def main() -> None:
        client, server = await tls_pair(tls)
        loop = asyncio.get_running_loop()
        with path.open("rb") as file:
            sending = asyncio.create_task(loop.sendfile(client.transport, file))
            await server.received(1)
            server.transport.abort()
            with pytest.raises(ConnectionError):
                await sending
        await client.lost
        await server.lost

    run(main)


def test_a_client_that_leaves_during_a_burst_of_clients(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        reports = collect_reports()
        server, made, address = await serving(tls)
        context = tls.client()
        loop = asyncio.get_running_loop()

        async def come_and_go(number: int) -> None:
            connecting = asyncio.create_task(loop.create_connection(Recorder, *address, ssl=context))
            for _ in range(number):
                await asyncio.sleep(0)
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                transport, protocol = await connecting
                transport.abort()
                await protocol.lost

        await asyncio.gather(*(come_and_go(number) for number in range(60)))
        await eventually(lambda: all(protocol.lost.done() for protocol in made if protocol.transport is not None), 10)
        server.close()
        await server.wait_closed()
        assert reports == []

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_closed waits for connections from 3.12 on")
def test_wait_closed_waits_for_connections(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        server, made, address = await serving(tls)
        client = await client_of(tls, address)
        await eventually(lambda: made and made[0].transport)
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await turns(10)
        assert not waiting.done()
        await close_both(client, made[0])
        await waiting

    run(main)
