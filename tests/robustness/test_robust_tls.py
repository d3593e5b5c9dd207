"""TLS against a hostile world: garbage, floods, renegotiation, programs that meddle, loops and processes that end.

Nothing of it may crash, hang, leak, or be told to the exception handler: strangers do fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Python = Callable[..., "subprocess.CompletedProcess[str]"]

CERTIFICATES = Path(__file__).resolve().parents[1] / "certificates"
HANDSHAKE_TIMEOUT = 0.5


class OwnObject(ssl.SSLObject):
    """A session class of the program's own leads to the engine that goes through Python."""


@pytest.fixture(params=["direct", "bio"])
def engine(request: pytest.FixtureRequest) -> str:
    """Which engine the contexts lead to."""
    return str(request.param)


def server_context(engine: str = "direct") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    return for_engine(context, engine)


def client_context(engine: str = "direct") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATES / "authority.pem")
    return for_engine(context, engine)


def for_engine(context: ssl.SSLContext, engine: str) -> ssl.SSLContext:
    if engine == "bio":
        context.sslobject_class = OwnObject
    return context


class Echo(asyncio.Protocol):
    """Sends back what it gets, and knows its end."""

    alive = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Echo.alive += 1
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        Echo.alive -= 1


def reports_of_loop() -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.append(context))
    return reports


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """The resident memory of this process, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


# --- garbage ------------------------------------------------------------------------------------------------------


def spoiled(chance: random.Random, data: bytes) -> bytes:
    """The same bytes, or something else."""
    what = chance.randrange(8)
    place = chance.randrange(len(data))
    if what == 0:
        return chance.randbytes(chance.randrange(1, 2000))
    if what == 1:
        return data[:place]
    if what == 2:
        return data[place:]
    if what == 3:
        return data[:place] + data
    if what == 4:
        return data[:place] + chance.randbytes(chance.randrange(1, 100)) + data[place:]
    if what == 5:  # a record's length
        return data[:3] + chance.randbytes(2) + data[5:]
    if what == 6:
        return data
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


async def spoiling_peer(sock: socket.socket, chance: random.Random, *, server_side: bool) -> None:
    """Shake hands and talk, but spoil one of the flights; leave in one of several ways."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = server_context() if server_side else client_context()
    context.maximum_version = chance.choice([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    session = context.wrap_bio(
        incoming, outgoing, server_side=server_side, server_hostname=None if server_side else "localhost"
    )
    spoiled_flight = chance.randrange(5)
    with sock, contextlib.suppress(OSError, TimeoutError):
        step: Callable[[], object] = session.do_handshake
        for flight in range(8):
            with contextlib.suppress(ssl.SSLWantReadError):
                step()
                session.write(b"hello" * chance.randrange(1, 5000))
                step = lambda: session.read(1 << 16)  # noqa: E731
            data = outgoing.read()
            if data and flight >= spoiled_flight:
                data = spoiled(chance, data)
            if data:
                await loop.sock_sendall(sock, data)
            data = await asyncio.wait_for(loop.sock_recv(sock, 1 << 16), 0.02)
            if not data:
                return
            incoming.write(data)
    if chance.randrange(3) == 0:
        sock.close()


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
def test_spoiled_sessions(run: Run, engine: str, server_side: bool) -> None:
    """By seed: any of these may end in an error, and all of them end."""

    async def main() -> None:
        reports = reports_of_loop()
        loop = asyncio.get_running_loop()
        ours_context = server_context(engine) if server_side else client_context(engine)

        async def one(seed: int) -> None:
            chance = random.Random(seed)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            peer = asyncio.create_task(spoiling_peer(theirs, chance, server_side=not server_side))
            with contextlib.suppress(OSError):
                if server_side:
                    transport, _ = await loop.connect_accepted_socket(
                        Echo, ours, ssl=ours_context, ssl_handshake_timeout=2, ssl_shutdown_timeout=0.1
                    )
                else:
                    transport, _ = await loop.create_connection(
                        Echo,
                        sock=ours,
                        ssl=ours_context,
                        server_hostname="localhost",
                        ssl_handshake_timeout=2,
                        ssl_shutdown_timeout=0.1,
                    )
                transport.write(b"our own words")
                await asyncio.wait([peer], timeout=0.05)
                transport.close()
            await peer

        for begin in range(0, 240, 40):
            await asyncio.wait_for(asyncio.gather(*(one(seed) for seed in range(begin, begin + 40))), 60)
        await until(lambda: Echo.alive == 0)
        assert reports == []

    run(main)


def test_noise_at_a_server(run: Run, engine: str) -> None:
    async def main() -> None:
        reports = reports_of_loop()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            Echo, "127.0.0.1", 0, ssl=server_context(engine), ssl_handshake_timeout=HANDSHAKE_TIMEOUT
        )
        address = server.sockets[0].getsockname()
        chance = random.Random(2026)
        before = descriptors()
        for number in range(200):
            with socket.create_connection(address) as sock:
                sock.setblocking(False)
                noise = chance.randbytes(chance.randrange(1, 500))
                if number % 3 == 0:  # looks like a record for a while
                    noise = bytes([22, 3, 1]) + chance.randbytes(2) + noise
                await loop.sock_sendall(sock, noise)
                await asyncio.sleep(0)
        await until(lambda: descriptors() == before)
        server.close()
        await server.wait_closed()
        assert reports == []

    run(main)


# --- floods -------------------------------------------------------------------------------------------------------


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    session = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


@pytest.mark.slow(limit=120)
def test_a_flood_of_half_open_handshakes(run: Run, engine: str) -> None:
    """All are ended by the time limit, others are served meanwhile, and nothing is left."""
    hello = client_hello()

    async def main() -> None:
        reports = reports_of_loop()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            Echo, "127.0.0.1", 0, ssl=server_context(engine), backlog=1000, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
        )
        address = server.sockets[0].getsockname()
        context = client_context(engine)

        async def flood() -> None:
            socks = []
            for number in range(500):
                sock = socket.create_connection(address)
                sock.setblocking(False)
                # Nothing, a part, or all of the first flight; nobody ever answers what the server says then.
                await loop.sock_sendall(sock, hello[: [0, 5, 100, len(hello)][number % 4]])
                socks.append(sock)
            transport, _ = await loop.create_connection(Echo, *address, ssl=context)
            transport.abort()
            await until(lambda: descriptors() <= before + 500)
            for sock in socks:
                with contextlib.suppress(ConnectionResetError):
                    while await asyncio.wait_for(loop.sock_recv(sock, 1 << 16), 20):
                        pass
                sock.close()
            await until(lambda: descriptors() <= before)

        before = descriptors()
        await flood()
        gc.collect()
        memory = resident()
        for _ in range(2):
            await flood()
        gc.collect()
        assert resident() < memory + (8 << 20)
        server.close()
        await server.wait_closed()
        assert reports == []
        assert Echo.alive == 0

    run(main)


@pytest.mark.slow(limit=240)
def test_ten_thousand_connections_that_are_aborted(run: Run) -> None:
    """In every state: before the handshake, in it, when it is done, with data under way, in the goodbye; on both
    engines in turn, at either end."""

    async def main() -> None:
        reports = reports_of_loop()
        loop = asyncio.get_running_loop()
        engines = ["direct", "bio"]
        servers = [
            await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context(engine), backlog=1000)
            for engine in engines
        ]
        addresses = [server.sockets[0].getsockname() for server in servers]
        contexts = [client_context(engine) for engine in engines]

        async def one(number: int) -> None:
            state = 1 + number % 7 if number % 5 else 0  # one in five shakes hands to the end
            connecting = asyncio.ensure_future(
                loop.create_connection(Echo, *addresses[number // 2 % 2], ssl=contexts[number % 2])
            )
            if state:
                for _ in range(state):
                    await asyncio.sleep(0)
                connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                transport, _ = await connecting
                if number % 3:
                    transport.write(bytes(1000))
                if number % 2:
                    transport.close()
                    await asyncio.sleep(0)
                transport.abort()

        async def many(count: int) -> None:
            for begin in range(0, count, 50):
                await asyncio.gather(*(one(number) for number in range(begin, begin + 50)))
            await until(lambda: Echo.alive == 0)
            gc.collect()

        before = descriptors()
        await many(1500)
        memory = resident()
        await many(10_000)
        await until(lambda: descriptors() == before)
        assert resident() < memory + (10 << 20)
        for server in servers:
            server.close()
            await server.wait_closed()
        assert reports == []

    run(main)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
@pytest.mark.parametrize("allowed", [False, True], ids=["refused", "allowed"])
def test_a_renegotiation_storm(run: Run, engine: str, allowed: bool) -> None:
    """A client asks to shake hands anew, again and again. OpenSSL 3 refuses unless the context says otherwise."""

    async def main() -> None:
        reports = reports_of_loop()
        loop = asyncio.get_running_loop()
        context = server_context(engine)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        if allowed:
            context.options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        storm = subprocess.Popen(  # noqa: ASYNC220  its pipes are looked at without waiting
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert storm.stdin is not None
        assert storm.stdout is not None
        try:
            os.set_blocking(storm.stdout.fileno(), False)
            said = b""

            async def says(word: bytes, count: int) -> bool:
                nonlocal said

                def look() -> bool:
                    nonlocal said
                    said += storm.stdout.read() or b""  # type: ignore[union-attr]
                    return said.count(word) >= count or storm.poll() is not None

                await until(look)
                return said.count(word) >= count

            assert await says(b"Verify return code", 1), said
            rounds = 0
            for number in range(1, 30):
                with contextlib.suppress(BrokenPipeError):
                    storm.stdin.write(b"R\n")
                    storm.stdin.flush()
                if not await says(b"RENEGOTIATING", number):
                    break
                rounds = number
                with contextlib.suppress(BrokenPipeError):
                    storm.stdin.write(b"echo %d\n" % number)
                    storm.stdin.flush()
                if not await says(b"echo %d\n" % number, 1):
                    break
            assert rounds >= (29 if allowed else 1), said.decode(errors="replace")[-2000:]
            # Others are served all the while.
            transport, _ = await loop.create_connection(
                Echo, "127.0.0.1", port, ssl=client_context(), server_hostname="localhost"
            )
            transport.abort()
        finally:
            storm.kill()
            storm.communicate()
        await until(lambda: Echo.alive == 0)
        server.close()
        await server.wait_closed()
        assert reports == []

    run(main)


# --- programs that meddle ------------------------------------------------------------------------------------------


def test_a_program_that_uses_the_session_itself(run: Run, engine: str) -> None:
    """Whatever it does to it, by seed: the connection may break, the process may not."""

    async def main() -> None:
        reports_of_loop()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context(engine), ssl_shutdown_timeout=0.2)
        address = server.sockets[0].getsockname()
        context = client_context(engine)
        for seed in range(60):
            chance = random.Random(seed)
            transport, _ = await loop.create_connection(
                asyncio.Protocol, *address, ssl=context, ssl_shutdown_timeout=0.2
            )
            session = transport.get_extra_info("ssl_object")
            for _ in range(20):
                act = chance.randrange(9)
                with contextlib.suppress(OSError, ValueError):
                    if act == 0:
                        session.read(chance.randrange(1, 100))
                    elif act == 1:
                        session.write(chance.randbytes(chance.randrange(1, 50_000)))
                    elif act == 2 and chance.randrange(3) == 0:
                        session.unwrap()
                    elif act == 3:
                        session.do_handshake()
                    elif act == 4:
                        session.pending()
                    elif act == 5:
                        transport.write(chance.randbytes(chance.randrange(1, 50_000)))
                    elif act == 6:
                        transport.pause_reading()
                    elif act == 7:
                        transport.resume_reading()
                    else:
                        await asyncio.sleep(0)
            if chance.randrange(2):
                transport.close()
                session.context  # noqa: B018  looked at after the end
            else:
                transport.abort()
            del transport, session
        await until(lambda: Echo.alive == 0)
        server.close()
        await server.wait_closed()

    run(main)


def test_a_session_that_outlives_its_connection(run: Run, engine: str) -> None:
    """The session object is the program's; without its wire it answers with errors, not with a crash."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context(engine))
        transport, _ = await loop.create_connection(
            asyncio.Protocol, *server.sockets[0].getsockname(), ssl=client_context(engine)
        )
        session = transport.get_extra_info("ssl_object")
        transport.write(b"x" * 100_000)
        transport.abort()
        del transport
        await until(lambda: Echo.alive == 0)
        server.close()
        await server.wait_closed()
        gc.collect()
        for act, argument in (("read", (10,)), ("write", (b"x" * 100_000,)), ("unwrap", ())):
            with contextlib.suppress(OSError):
                getattr(session, act)(*argument)
        assert session.version() is not None
        assert session.getpeercert()
        del session
        gc.collect()

    run(main)


# --- ends ---------------------------------------------------------------------------------------------------------

PHASES = """
import asyncio, gc, os, socket, ssl, sys, tepal

CERTIFICATES, ENGINE, PHASE, END = sys.argv[1:]

class Own(ssl.SSLObject):
    pass

server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_context.load_cert_chain(CERTIFICATES + "/server.pem")
client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_context.load_verify_locations(CERTIFICATES + "/authority.pem")
if ENGINE == "bio":
    server_context.sslobject_class = client_context.sslobject_class = Own

kept = []

class Keeping(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        kept.append(self)
    def data_received(self, data):
        self.data = data

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Keeping, "127.0.0.1", 0, ssl=server_context)
    address = server.sockets[0].getsockname()
    kept.append(server)
    if PHASE == "handshake":
        kept.append(socket.create_connection(address))
        kept[-1].send(b"\\x16\\x03\\x01")
        await asyncio.sleep(0.01)
        return
    transport, protocol = await loop.create_connection(Keeping, *address, ssl=client_context)
    while len(kept) < 3:
        await asyncio.sleep(0)
    if PHASE == "data":
        kept[-1].transport.pause_reading()
        transport.write(bytes(20_000_000))
        await asyncio.sleep(0.01)
    elif PHASE == "goodbye":
        kept[-1].transport.pause_reading()
        transport.close()
        await asyncio.sleep(0.01)
    elif PHASE == "nested":
        server_side = next(k for k in kept[1:] if k is not protocol)
        upgrading = asyncio.ensure_future(
            loop.start_tls(transport, protocol, client_context, server_hostname="localhost"))
        accepted = await loop.start_tls(server_side.transport, server_side, server_context, server_side=True)
        kept.append(await upgrading)
        kept.append(accepted)
        accepted.write(b"x" * 1000)

loop = tepal.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
if END == "close":
    loop.close()
    for thing in kept:
        transport = getattr(thing, "transport", None)
        if transport is not None:
            for method in ("abort", "close", "pause_reading", "resume_reading"):
                try:
                    getattr(transport, method)()
                except RuntimeError:
                    pass  # the loop is closed, it says
            transport.get_extra_info("cipher")
    kept.clear()
    gc.collect()
elif END == "fork":
    child = os.fork()
    if child == 0:
        kept.clear()
        gc.collect()
        loop.close()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    if PHASE == "open":
        async def on():
            kept[1].transport.write(b"hello")
            while not any(getattr(thing, "data", b"") == b"hello" for thing in kept):
                await asyncio.sleep(0)
        loop.run_until_complete(asyncio.wait_for(on(), 10))
print("end")
"""


@pytest.mark.parametrize("end", ["close", "exit", "fork"])
@pytest.mark.parametrize("phase", ["handshake", "open", "data", "goodbye", "nested"])
def test_a_process_that_ends_with_open_connections(
    python: Python, engine: str, phase: str, end: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PHASES)
    done = python("-W", "ignore", "program.py", str(CERTIFICATES), engine, phase, end, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "end\n"
    assert "Traceback" not in done.stderr, done.stderr
    assert "Fatal" not in done.stderr, done.stderr
