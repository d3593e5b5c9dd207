"""What is made through a supervisor belongs to it: it is watched, it is cleaned up, the last first, and that always ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

import tepal

Told = list[dict[str, Any]]


def telling() -> Told:
    """Collect what the loop's exception handler is told from now on."""
    told: Told = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    return told


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def names(group: BaseException) -> list[str]:
    """The names of the errors in a group, sorted."""
    assert isinstance(group, BaseExceptionGroup)
    return sorted(type(error).__name__ for error in group.exceptions)


class Fails(asyncio.Protocol):
    """A protocol that fails where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def _fail(self, here: str) -> None:
        if here == self.where:
            raise KeyError(here)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._fail("connection_made")

    def data_received(self, data: bytes) -> None:
        self._fail("data_received")

    def eof_received(self) -> bool:
        self._fail("eof_received")
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._fail("connection_lost")


Maker = Callable[[Any], Awaitable[None] | None]


def by_call_soon(sup: Any) -> None:
    sup.call_soon(fail)


def by_call_later(sup: Any) -> None:
    sup.call_later(0.001, fail)


def by_call_at(sup: Any) -> None:
    sup.call_at(sup.time(), fail)


def by_thread(sup: Any) -> None:
    threading.Thread(target=sup.call_soon_threadsafe, args=(fail,)).start()


def by_task(sup: Any) -> None:
    async def failing() -> None:
        await tepal.sleep(0)
        fail()

    sup.create_task(failing())


def by_reader(sup: Any) -> None:
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.send(b"x")
    sup.test_sockets = (receiver, sender)
    sup.add_reader(receiver, fail)


def by_writer(sup: Any) -> None:
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    sup.test_sockets = (receiver, sender)
    sup.add_writer(sender, fail)


def by_signal(sup: Any) -> None:
    sup.add_signal_handler(signal.SIGUSR1, fail)
    signal.raise_signal(signal.SIGUSR1)


def by_child(sup: Any) -> None:
    async def failing() -> None:
        fail()

    sup.child(failing)


def by_protocol(where: str) -> Maker:
    async def connect(sup: Any) -> None:
        server = await sup.create_server(lambda: Fails(where), "127.0.0.1", 0)
        transport, _ = await sup.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        transport.write(b"x")
        await tepal.sleep(0.02)
        transport.write_eof()

    connect.__name__ = f"by_{where}"
    return connect


async def by_datagram(sup: Any) -> None:
    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            fail()

    transport, _ = await sup.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    transport.sendto(b"x", transport.get_extra_info("sockname"))


async def by_process(sup: Any) -> None:
    class Process(asyncio.SubprocessProtocol):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            fail()

    await sup.subprocess_exec(
        Process, sys.executable, "-c", "print('x', flush=True); import time; time.sleep(99)", stdin=None
    )


async def by_pipe(sup: Any) -> None:
    reader, writer = os.pipe()
    sup.test_sockets = (os.fdopen(writer, "wb"),)
    await sup.connect_read_pipe(lambda: Fails("data_received"), os.fdopen(reader, "rb"))
    os.write(writer, b"x")


def fail() -> None:
    raise KeyError


MAKERS: list[Maker] = [
    *(by_call_soon, by_call_later, by_call_at, by_thread, by_task, by_reader, by_writer, by_signal, by_child),
    *(by_protocol(where) for where in ("connection_made", "data_received", "eof_received", "connection_lost")),
    *(by_datagram, by_process, by_pipe),
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_an_error_arrives_at_the_block(make: Maker) -> None:
    async def main() -> None:
        told = telling()
        loop = asyncio.get_running_loop()
        ended = []
        sup: Any = None

        async def bystander() -> None:
            try:
                await forever()
            finally:
                ended.append("bystander")

        options = {"max_restarts": 0} if make is by_child else {}
        with pytest.raises(ExceptionGroup) as caught:
            async with loop.create_supervisor(**options) as sup:  # type: ignore[attr-defined]
                sup.create_task(bystander())
                made = make(sup)
                if made is not None:
                    await made
                await forever()
        assert names(caught.value) == ["KeyError"]
        assert ended == ["bystander"]
        assert told == []
        assert sup.statistics() == tepal.SupervisorStatistics(tasks=0, owned=0, errors=0, closing=True)
        for opened in getattr(sup, "test_sockets", ()):
            opened.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert loop._open_transports() == []  # type: ignore[attr-defined]

    tepal.run(main)


def test_things_are_closed_in_reverse() -> None:
    async def main() -> None:
        order: list[str] = []

        def noted(name: str) -> type[asyncio.Protocol]:
            class Protocol(asyncio.Protocol):
                def connection_lost(self, exc: BaseException | None) -> None:
                    order.append(name)

            return Protocol

        async def task(name: str) -> None:
            try:
                await forever()
            finally:
                await tepal.sleep(0)
                order.append(name)

        @contextlib.asynccontextmanager
        async def manager(name: str) -> AsyncIterator[str]:
            yield name
            await tepal.sleep(0)
            order.append(name)

        with pytest.raises(ExceptionGroup):
            async with tepal.open_supervisor() as sup:
                server = await sup.create_server(asyncio.Protocol, "127.0.0.1", 0)
                address = server.sockets[0].getsockname()
                sup.create_task(task("task 1"))
                await sup.enter(manager("manager 1"))
                await sup.create_connection(noted("connection 1"), *address)
                sup.create_task(task("task 2"))
                sup.create_task(task("task 3"))
                await sup.create_connection(noted("connection 2"), *address)
                await sup.enter(manager("manager 2"))
                await tepal.sleep(0.01)
                raise KeyError
        assert order[0] == "manager 2"
        assert order[1] == "connection 2"
        assert sorted(order[2:4]) == ["task 2", "task 3"]
        assert order[4:] == ["connection 1", "manager 1", "task 1"]

    tepal.run(main)


def test_a_block_that_ends_well_waits_for_its_tasks_and_closes_the_rest() -> None:
    async def main() -> None:
        done = []

        async def work() -> None:
            await tepal.sleep(0.01)
            done.append("work")
            sup.create_task(more())

        async def more() -> None:
            await tepal.sleep(0.01)
            done.append("more")

        async with tepal.open_supervisor() as sup:
            server = await sup.create_server(asyncio.Protocol, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            handle = sup.call_later(100, done.append, "never")
            future = sup.create_future()
            transport, _ = await sup.create_connection(asyncio.Protocol, *address)
            sup.create_task(work())
        assert done == ["work", "more"]
        assert handle.cancelled() and future.cancelled() and transport.is_closing()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)

    tepal.run(main)


def test_an_error_while_it_waits_for_its_tasks() -> None:
    async def main() -> None:
        async def failing() -> None:
            await tepal.sleep(0.01)
            raise KeyError

        with pytest.raises(ExceptionGroup) as caught:
            async with tepal.open_supervisor() as sup:
                sup.create_task(forever())
                sup.create_task(failing())
        assert names(caught.value) == ["KeyError"]

    tepal.run(main)


def test_errors_of_all_kinds_arrive_once_and_together() -> None:
    async def main() -> None:
        told = telling()

        async def cleans() -> None:
            try:
                await forever()
            finally:
                raise OSError

        with pytest.raises(ExceptionGroup) as caught:
            async with tepal.open_supervisor() as sup:
                sup.create_task(cleans())
                await tepal.sleep(0)
                sup.call_soon(fail)
                try:
                    await forever()
                finally:
                    raise ValueError
        assert names(caught.value) == ["KeyError", "OSError", "ValueError"]
        assert told == []

    tepal.run(main)


def test_what_has_ended_is_not_kept() -> None:
    async def main() -> None:
        async with tepal.open_supervisor() as sup:
            server = await sup.create_server(asyncio.Protocol, "127.0.0.1", 0)
            base = sup.statistics().owned
            for _ in range(3):
                sup.call_soon(int)
                sup.create_future().set_result(None)
                transport, _ = await sup.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
                transport.abort()
                await sup.run_in_executor(None, int)
            await tepal.sleep(0.02)
            assert sup.statistics().owned == base
            for _ in range(1_000):
                sup.call_later(1_000, int).cancel()
            assert sup.statistics().owned < 300
            with socket.socket() as sock:
                sock.setblocking(False)
                sup.add_reader(sock, int)
                assert sup.remove_reader(sock)
            assert sup.statistics().owned < 300

    tepal.run(main)


def test_close_ends_it_without_an_error() -> None:
    async def main() -> None:
        ended = []

        async def work() -> None:
            try:
                await forever()
            finally:
                ended.append("work")

        async with tepal.open_supervisor() as sup:
            sup.create_task(work())
            threading.Timer(0.02, sup.close).start()
            await forever()
        assert ended == ["work"]
        async with tepal.open_supervisor() as sup:
            sup.create_task(work())
            sup.call_later(0.01, sup.close)
        assert ended == ["work", "work"]

    tepal.run(main)


def test_a_request_for_the_parent_closes_it_and_goes_on() -> None:
    async def main() -> None:
        ended = []

        async def work() -> None:
            try:
                await forever()
            finally:
                ended.append("work")

        async def body(waits: bool) -> None:
            async with tepal.open_supervisor() as sup:
                sup.create_task(work())
                if waits:
                    await forever()

        for waits in (True, False):
            task = asyncio.create_task(body(waits))
            await tepal.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
        assert ended == ["work", "work"]
        with tepal.move_on_after(0.01) as scope:
            await body(True)
        assert scope.cancelled_caught
        assert ended == ["work"] * 3

    tepal.run(main)


def test_who_does_not_stop_is_named_and_the_block_ends() -> None:
    async def main() -> None:
        told = telling()

        async def stubborn() -> None:
            while True:
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    if released:
                        raise

        released: list[bool] = []
        begun = time.monotonic()
        with pytest.raises(ExceptionGroup):
            async with tepal.open_supervisor(shutdown=0.05) as sup:
                task = sup.create_task(stubborn(), name="stubborn")
                await tepal.sleep(0)
                raise KeyError
        assert time.monotonic() - begun < 5
        await tepal.sleep(0)
        (context,) = told
        assert context["message"].startswith("task stubborn did not stop within 0.05 seconds")
        assert context["task"] is task
        released.append(True)
        task.cancel()

    tepal.run(main)


def test_a_hosted_context_manager() -> None:
    # "Attempted to exit cancel scope in a different task than it was entered in": here any task may use it, and any may leave it.
    async def main() -> None:
        events: list[str] = []

        @contextlib.asynccontextmanager
        async def session(name: str) -> AsyncIterator[str]:
            with tepal.CancelScope():
                async with tepal.open_nursery() as nursery:
                    nursery.start_soon(forever)
                    events.append(f"{name} entered")
                    yield name
                    nursery.cancel_scope.cancel()
            events.append(f"{name} left")

        @contextlib.contextmanager
        def ordinary() -> Iterator[int]:
            yield 7
            events.append("ordinary left")

        async def user(sup: Any) -> None:
            assert await sup.enter(session("one")) == "one"
            assert await sup.enter(session("two")) == "two"
            assert await sup.enter(ordinary()) == 7

        async with tepal.open_supervisor() as sup:
            await asyncio.create_task(user(sup))
            await asyncio.create_task(sup.leave("one"))
            assert events == ["one entered", "two entered", "one left"]
            with pytest.raises(LookupError):
                await sup.leave("one")
        assert events[3:] == ["ordinary left", "two left"]

    tepal.run(main)


@pytest.mark.parametrize("where", ["entering", "leaving"])
def test_a_context_manager_that_fails(where: str) -> None:
    async def main() -> None:
        @contextlib.asynccontextmanager
        async def failing() -> AsyncIterator[None]:
            if where == "entering":
                raise KeyError
            yield
            raise KeyError

        if where == "entering":
            async with tepal.open_supervisor() as sup:
                with pytest.raises(KeyError):
                    await sup.enter(failing())
        else:
            with pytest.raises(ExceptionGroup) as caught:
                async with tepal.open_supervisor() as sup:
                    await sup.enter(failing())
            assert names(caught.value) == ["KeyError"]

    tepal.run(main)


def test_a_tree() -> None:
    async def main() -> None:
        ended = []

        async def work(name: str) -> None:
            try:
                await forever()
            finally:
                ended.append(name)

        async def below(sup: Any, name: str) -> None:
            async with sup.create_supervisor() as own:
                own.create_task(work(name))
                await forever()

        with pytest.raises(ExceptionGroup) as caught:
            async with tepal.open_supervisor() as top:
                top.create_task(work("top"))
                top.create_task(below(top, "left"))
                top.create_task(below(top, "right"))
                await tepal.sleep(0.01)
                top.call_soon(fail)
                await forever()
        assert names(caught.value) == ["KeyError"]
        assert sorted(ended) == ["left", "right", "top"]

    tepal.run(main)


def test_an_error_climbs_the_tree() -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with tepal.open_supervisor() as top:
                async with top.create_supervisor() as below:
                    below.call_soon(fail)
                    await forever()
        assert names(caught.value) == ["ExceptionGroup"]

    tepal.run(main)


def test_an_isolating_supervisor() -> None:
    async def main() -> None:
        told = telling()

        async def failing() -> None:
            raise ValueError

        async with tepal.open_supervisor(policy="isolate") as sup:
            sup.call_soon(fail)
            task = sup.create_task(failing())
            other = sup.create_task(tepal.sleep(0.01, "done"))
        assert task.result() is None
        assert other.result() == "done"
        assert sorted(type(context["exception"]).__name__ for context in told) == ["KeyError", "ValueError"]

    tepal.run(main)


def test_the_whole_loop_is_mirrored() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tepal.open_supervisor() as sup:
            for name in dir(asyncio.AbstractEventLoop):
                if name.startswith("_"):
                    continue
                assert name in dir(sup)
                if name in ("stop", "close", "set_debug") or name.startswith(("run_", "shutdown_", "set_")):
                    continue
                assert callable(getattr(sup, name)), name
            assert sup.loop is loop
            assert abs(sup.time() - loop.time()) < 1
            assert await sup.getaddrinfo("127.0.0.1", 80)
            assert sup.is_running()
            for name in ("run_forever", "run_until_complete", "stop", "close_", "shutdown_asyncgens", "nonsense"):
                with pytest.raises(AttributeError):
                    getattr(sup, name)

    tepal.run(main)


def test_tls_goes_on_over_another_transport() -> None:
    async def main() -> None:
        # (What `start_tls` returns is owned in the place of what it was given; the certificate is no matter here.)
        import ssl

        async with tepal.open_supervisor() as sup:
            server = await sup.create_server(asyncio.Protocol, "127.0.0.1", 0)
            protocol = asyncio.Protocol()
            transport, same = await sup.create_connection(lambda: protocol, *server.sockets[0].getsockname())
            assert same is protocol
            owned = sup.statistics().owned
            context = ssl.create_default_context()
            with pytest.raises((ConnectionError, ssl.SSLError, TimeoutError)):
                await sup.start_tls(
                    transport, protocol, context, server_hostname="localhost", ssl_handshake_timeout=0.1
                )
            assert sup.statistics().owned <= owned

    tepal.run(main)


def test_it_must_be_open() -> None:
    async def main() -> None:
        sup = tepal.open_supervisor()
        for use in (lambda: sup.call_soon(int), lambda: sup.child(forever)):
            with pytest.raises(RuntimeError, match="has not been entered"):
                use()
        async with sup:
            pass
        coroutine = forever()
        for use in (lambda: sup.call_soon(int), lambda: sup.create_future(), lambda: sup.create_task(coroutine)):
            with pytest.raises(RuntimeError, match="closed"):
                use()
        coroutine.close()
        with pytest.raises(RuntimeError, match="closed"):
            await sup.create_connection(asyncio.Protocol, "127.0.0.1", 1)

    tepal.run(main)


@pytest.mark.parametrize(
    "options",
    [{"policy": "hope"}, {"strategy": "two_for_one"}, {"max_restarts": -1}, {"within": -1}, {"shutdown": float("nan")}],
)
def test_options_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        tepal.open_supervisor(**options)
