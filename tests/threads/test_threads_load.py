"""Four loops in four threads, all of them busy with everything at once, and tied to each other.

With the GIL these tests prove that no loop takes another's work, that no wake-up is lost under load and that nothing leaks.
They do not prove that the loops may really run at the same moment: the GIL lets one of them run at a time, and changes hands
only between two bytecodes, never inside our own code. That is for the free-threaded interpreter
(`scripts/free-threaded-python`, `make test-all`), on which these very tests run as they stand here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import tepal

Together = Callable[..., None]

LOOPS = 4
CERTIFICATES = Path(__file__).resolve().parent.parent / "certificates"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


@pytest.mark.skipif(not FREE_THREADED, reason="this interpreter has a GIL")
def test_importing_tepal_leaves_the_gil_off() -> None:
    assert not sys._is_gil_enabled(), "something that was imported before has switched the GIL on: PYTHON_GIL=0"


@pytest.mark.skipif(not FREE_THREADED, reason="this interpreter has a GIL")
def test_importing_tepal_asks_for_no_gil(python: Callable[..., object]) -> None:
    done = python(
        "-W", "error", "-c", "import sys, tepal; tepal.new_event_loop().close(); print(sys._is_gil_enabled())"
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "False", "")  # type: ignore[attr-defined]


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Ring:
    """The loops, and where each has its server; the last one to finish lets all of them go."""

    def __init__(self) -> None:
        # One context each for all loops: sessions are made of it in four threads at once.
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(CERTIFICATES / "server.pem")
        self.client_context = ssl.create_default_context(cafile=CERTIFICATES / "authority.pem")
        self.members: list[Member] = []
        self.complete = threading.Barrier(LOOPS)
        self.finished = threading.Semaphore(0)

    def neighbour(self, member: Member) -> Member:
        return self.members[(self.members.index(member) + 1) % LOOPS]


class Member:
    """One loop and its work."""

    def __init__(self, ring: Ring, rounds: int) -> None:
        self.ring = ring
        self.rounds = rounds
        self.loop: asyncio.AbstractEventLoop
        self.thread = 0
        self.address: tuple[str, int]
        self.tls_address: tuple[str, int]
        self.got: list[int] = []
        self.got_all: asyncio.Event
        self.others_done: asyncio.Event
        self.done = 0

    def run(self) -> None:
        with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
            runner.run(self.main())

    async def main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.got_all, self.others_done = asyncio.Event(), asyncio.Event()
        server = await self.loop.create_server(Echo, "127.0.0.1", 0)
        tls_server = await self.loop.create_server(Echo, "127.0.0.1", 0, ssl=self.ring.server_context)
        self.address, self.tls_address = (each.sockets[0].getsockname() for each in (server, tls_server))
        self.ring.complete.wait()  # all addresses are known; blocks the loops, which have nothing to do yet
        async with asyncio.TaskGroup() as group:
            for work in (self.tasks, self.timers, self.threadsafe, self.executor, self.echo, self.echo_in_tls):
                group.create_task(work())
        for member in self.ring.members:
            member.loop.call_soon_threadsafe(member.another_is_done)
        await self.others_done.wait()  # they may still be at our server
        for each in (server, tls_server):
            each.close()
            await each.wait_closed()

    def another_is_done(self) -> None:
        self.check()
        self.done += 1
        if self.done == LOOPS:
            self.others_done.set()

    def check(self) -> None:
        assert threading.get_ident() == self.thread
        assert asyncio.get_running_loop() is self.loop

    async def tasks(self) -> None:
        async def step(number: int) -> int:
            for _ in range(5):
                await asyncio.sleep(0)
                self.check()
            return number

        for _ in range(self.rounds):
            assert await asyncio.gather(*map(step, range(20))) == list(range(20))

    async def timers(self) -> None:
        for _ in range(self.rounds):
            fell_due = asyncio.Queue[int]()
            handles = [self.loop.call_later(number * 1e-5, fell_due.put_nowait, number) for number in range(20)]
            for handle in handles[1::2]:
                handle.cancel()
            assert [await fell_due.get() for _ in range(10)] == list(range(0, 20, 2))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(self.loop.create_future(), 1e-4)
            self.check()

    async def threadsafe(self) -> None:
        neighbour = self.ring.neighbour(self)
        for number in range(self.rounds * 10):
            handle = neighbour.loop.call_soon_threadsafe(neighbour.receive, number)
            unwanted = neighbour.loop.call_soon_threadsafe(neighbour.receive_unwanted)
            unwanted.cancel()
            del handle
            if number % 10 == 0:
                future = asyncio.run_coroutine_threadsafe(neighbour.answer(number), neighbour.loop)
                assert await asyncio.wrap_future(future) == (number, neighbour.thread)
        await self.got_all.wait()
        assert self.got == list(range(self.rounds * 10))

    def receive(self, number: int) -> None:
        self.check()
        self.got.append(number)
        if len(self.got) == self.rounds * 10:
            self.got_all.set()

    def receive_unwanted(self) -> None:
        # It may have begun before it was cancelled; then it must be here.
        self.check()

    async def answer(self, number: int) -> tuple[int, int]:
        await asyncio.sleep(0)
        return number, threading.get_ident()

    async def executor(self) -> None:
        for number in range(self.rounds):
            results = await asyncio.gather(*(asyncio.to_thread(pow, number, power) for power in range(4)))
            assert results == [number**power for power in range(4)]
            self.check()

    async def echo(self) -> None:
        for number in range(self.rounds):
            for address in (self.address, self.ring.neighbour(self).address):
                await self.talk(number, await asyncio.open_connection(*address))

    async def echo_in_tls(self) -> None:
        for number in range(self.rounds):
            for address in (self.tls_address, self.ring.neighbour(self).tls_address):
                opening = asyncio.open_connection(*address, ssl=self.ring.client_context, server_hostname="localhost")
                await self.talk(number, await opening)

    async def talk(self, number: int, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        reader, writer = connection
        payload = number.to_bytes(4, "big") * 5000
        writer.write(payload)
        assert await reader.readexactly(len(payload)) == payload
        writer.close()
        await writer.wait_closed()
        self.check()


def run_ring(together: Together, rounds: int, *others: Callable[[], object]) -> None:
    ring = Ring()
    ring.members = [Member(ring, rounds) for _ in range(LOOPS)]
    together(*(member.run for member in ring.members), *others)


def test_four_loops_under_load(together: Together) -> None:
    before = len(os.listdir("/proc/self/fd"))
    run_ring(together, 15)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_collector_walks_in_another_thread_while_loops_run(together: Together) -> None:
    ring = Ring()
    ring.members = [Member(ring, 5) for _ in range(LOOPS)]
    left = [LOOPS]
    lock = threading.Lock()
    ended = threading.Event()

    def run(member: Member) -> None:
        try:
            member.run()
        finally:
            with lock:
                left[0] -= 1
            if not left[0]:
                ended.set()

    def collect() -> None:
        while not ended.is_set():
            gc.collect()

    def look() -> None:
        # What a debugger does, through each type's traverse function. (Not over gc.get_objects(): that shows lists which
        # their makers are still filling, and a free-threaded CPython 3.13 with assertions aborts, on asyncio, too.)
        while not ended.is_set():
            for member in ring.members:
                for one in gc.get_referents(getattr(member, "loop", None)):
                    gc.get_referents(one)

    together(*((lambda member=member: run(member)) for member in ring.members), collect, look)


def test_servers_in_four_threads_share_a_port(together: Together) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
        clients, ready = 40, threading.Barrier(LOOPS + 1)
        answered: list[bytes] = []
        loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        def serve() -> None:
            async def main() -> None:
                server = await asyncio.get_running_loop().create_server(Echo, *address, reuse_port=True)
                stop = asyncio.Event()
                loops.append((asyncio.get_running_loop(), stop))
                ready.wait()
                await stop.wait()
                server.close()
                await server.wait_closed()

            with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
                runner.run(main())

        def ask() -> None:
            async def one(number: int) -> None:
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"%04d" % number)
                answered.append(await reader.readexactly(4))
                writer.close()
                await writer.wait_closed()

            async def main() -> None:
                for _ in range(5):
                    await asyncio.gather(*map(one, range(clients)))

            ready.wait()
            with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
                runner.run(main())
            for loop, stop in loops:
                loop.call_soon_threadsafe(stop.set)

        together(*[serve] * LOOPS, ask)
    assert sorted(answered) == sorted(5 * [b"%04d" % number for number in range(clients)])


def test_one_loop_and_two_threads_that_start_it(together: Together) -> None:
    for _ in range(200):
        loop = tepal.new_event_loop()
        loop.call_later(10, loop.stop)  # only if both run it
        outcomes: list[str] = []

        def start(loop: asyncio.AbstractEventLoop = loop, outcomes: list[str] = outcomes) -> None:
            try:
                loop.run_forever()
            except RuntimeError as error:
                outcomes.append(str(error))
                loop.call_soon_threadsafe(loop.stop)
            else:
                outcomes.append("ran")

        together(start, start)
        assert sorted(outcomes) == ["This event loop is already running", "ran"]
        loop.close()
