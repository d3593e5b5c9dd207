"""TLS: what a protocol may do in its methods, what happens when they raise, and in which context they run."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from .support import BufferedRecorder, LoopFactory, Recorder, Run, eventually, socket_pair, turns
from .tls_support import Contexts, close_both, collect_reports, facing, payload, tls_pair
from .versions import is_asyncio

METHODS = ["data_received", "eof_received", "connection_lost"]
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


class Raising(Recorder):
    """Raises in one method, once."""

    where = ""
    error: BaseException = LookupError("out of a protocol")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._maybe("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._maybe("data_received")

    def eof_received(self) -> bool | None:
        super().eof_received()
        self._maybe("eof_received")
        return None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._maybe("connection_lost")

    def _maybe(self, method: str) -> None:
        if method == self.where:
            self.where = ""
            raise self.error


def raising(where: str, error: BaseException) -> type[Raising]:
    """A protocol class that raises `error` in the method `where`."""
    return type("RaisingThere", (Raising,), {"where": where, "error": error})


@pytest.mark.parametrize("where", METHODS)
def test_exceptions_are_reported(run: Run, tls: Contexts, where: str) -> None:
    error = LookupError("out of a protocol")

    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls, raising(where, error))
        with peer:
            await peer.send(b"hello")
            await protocol.received(5)
            if where == "eof_received":
                await peer.send_raw(peer.goodbye())
            elif where == "connection_lost":
                protocol.transport.abort()
            lost = await protocol.lost
            await turns()
            (report,) = reports
            assert report["exception"] is error
            messages = {
                "data_received": "Fatal error on SSL protocol",
                "eof_received": "Error calling eof_received()",
            }
            if where == "connection_lost":
                assert lost is None
            else:
                assert lost is error
                assert report["message"] == messages[where]
                assert {"transport", "protocol"} <= set(report)
            assert protocol.events.count("lost") == 1

    run(main)


def test_an_exception_in_connection_made(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    error = LookupError("out of a protocol")

    async def main() -> None:
        reports = collect_reports()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(raising("connection_made", error), "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        _, protocol = await loop.create_connection(Recorder, host, port, ssl=tls.client())
        await protocol.lost
        await eventually(lambda: reports)
        assert [report["exception"] for report in reports] == [error]
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("where", ["get_buffer", "buffer_updated", "empty", "readonly", "nonsense"])
def test_buffered_protocols_that_fail(run: Run, loop_factory: LoopFactory, tls: Contexts, where: str) -> None:
    if is_asyncio(loop_factory) and where == "empty":
        pytest.skip("asyncio takes an empty buffer for the peer's goodbye")

    class Failing(BufferedRecorder):
        armed = False  # a buffer is asked for as soon as hands are shaken

        def get_buffer(self, sizehint: int) -> Any:
            super().get_buffer(sizehint)
            if not self.armed:
                return memoryview(self.buffer)
            if where == "get_buffer":
                raise LookupError(where)
            return {"empty": bytearray(), "readonly": b"readonly", "nonsense": 7}.get(where, self.buffer)

        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            if where == "buffer_updated":
                raise LookupError(where)

    async def main() -> None:
        reports = collect_reports()
        protocol, peer = await facing(tls, Failing)
        with peer:
            protocol.armed = True
            await peer.send(b"hello")
            lost = await protocol.lost
            (report,) = reports
            assert report["exception"] is lost
            assert report["message"] == "Fatal error on SSL protocol"
            kinds: dict[str, Any] = {"empty": RuntimeError, "readonly": (TypeError, BufferError), "nonsense": TypeError}
            assert isinstance(lost, kinds.get(where, LookupError))
            assert protocol.events.count("lost") == 1

    run(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["connection_made", *METHODS])
def test_interrupts_leave_the_loop(
    loop: asyncio.AbstractEventLoop, tls: Contexts, where: str, kind: type[BaseException]
) -> None:
    """They come out of `run_until_complete`, and a loop that is run again goes on."""
    error = kind("out of a protocol")
    made: list[Raising] = []

    def factory() -> Raising:
        made.append(raising(where, error)())
        return made[-1]

    async def connect() -> tuple[Any, Any]:
        ours, theirs = socket_pair("tcp")
        theirs.setblocking(False)
        inner = asyncio.get_running_loop()
        accepting = asyncio.ensure_future(inner.connect_accepted_socket(factory, theirs, ssl=tls.server()))
        accepting.add_done_callback(lambda done: done.cancelled() or done.exception())
        _, client = await inner.create_connection(Recorder, sock=ours, ssl=tls.client(), server_hostname="localhost")
        clients.append(client)
        client.transport.write(b"hello")
        await eventually(lambda: made and "data" in made[0].events)
        if where == "eof_received":
            client.transport.close()
        else:
            made[0].transport.abort()
        return await made[0].lost, await client.lost

    async def clean() -> None:
        for protocol in [*clients, *made]:
            if protocol.transport is not None:
                protocol.transport.abort()
        pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await turns(10)

    clients: list[Any] = []
    with pytest.raises(kind) as caught:
        loop.run_until_complete(connect())
    assert caught.value is error
    loop.run_until_complete(clean())


def test_set_protocol_in_the_middle(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        client, server = await tls_pair(tls)
        server.transport.write(b"one")
        await client.received(3)
        second = BufferedRecorder(100)
        client.transport.set_protocol(second)
        assert client.transport.get_protocol() is second
        server.transport.write(b"two")
        assert await second.received(3) == b"two"
        third = Recorder()
        client.transport.set_protocol(third)
        server.transport.write(b"three")
        assert await third.received(5) == b"three"
        assert client.data == b"one"
        client.transport.close()
        await third.lost
        await server.lost
        assert third.events[-1] == "lost"
        assert "lost" not in [*client.events, *second.events]
        client.lost.cancel()

    run(main)


def test_set_protocol_inside_data_received(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """What was decrypted together is delivered together; the next delivery is the new protocol's."""

    class Switching(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(second)

    async def main() -> None:
        nonlocal second
        second = Recorder()
        client, server = await tls_pair(tls, Switching)
        server.transport.write(b"one")
        await client.received(3)
        server.transport.write(b"two")
        assert await second.received(3) == b"two"
        client.transport.close()
        await second.lost
        await server.lost

    second: Recorder
    run(main)


def test_protocol_methods_run_in_one_context(run: Run, loop_factory: LoopFactory, tls: Contexts) -> None:
    """What is set in `connection_made` is there later, and stays out of other connections."""
    if is_asyncio(loop_factory):
        pytest.skip("asyncio calls them in whatever context its own callbacks run in, until 3.15")

    class Setting(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.seen = [VARIABLE.get()]
            VARIABLE.set(f"connection {id(self)}")

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.seen.append(VARIABLE.get())

        def eof_received(self) -> bool | None:
            super().eof_received()
            self.seen.append(VARIABLE.get())
            return None

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            self.seen.append(VARIABLE.get())

    async def main() -> None:
        VARIABLE.set("the caller's")
        loop = asyncio.get_running_loop()
        made: list[Setting] = []

        def factory() -> Setting:
            made.append(Setting())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls.server())
        host, port = server.sockets[0].getsockname()
        clients = []
        for _ in range(2):
            _, client = await loop.create_connection(Setting, host, port, ssl=tls.client())
            client.transport.write(b"hello")
            clients.append(client)
        await eventually(lambda: len(made) == 2 and all(protocol.data for protocol in made))
        for client in clients:
            client.transport.close()
            await client.lost
        for protocol in made:
            await protocol.lost
            assert protocol.seen[0] == "the caller's"
            assert set(protocol.seen[1:]) == {f"connection {id(protocol)}"}
            assert len(protocol.seen) == 4
        assert VARIABLE.get() == "the caller's"
        server.close()
        await server.wait_closed()

    run(main)


def test_methods_are_called_in_order_when_everything_comes_at_once(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        order: list[str] = []

        class Ordered(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                order.append("data")
                asyncio.get_running_loop().call_soon(order.append, "woken by data")

            def eof_received(self) -> bool | None:
                order.append("eof")
                return None

            def connection_lost(self, exc: BaseException | None) -> None:
                super().connection_lost(exc)
                order.append("lost")

        protocol, peer = await facing(tls, Ordered)
        with peer:
            await peer.send_raw(peer.records(b"hello") + peer.goodbye())
            await peer.receive_goodbye()
        await protocol.lost
        assert order[0] == "data"
        assert order[-1] == "lost"
        assert sorted(order) == sorted(["data", "eof", "woken by data", "lost"])

    run(main)


def test_a_protocol_that_closes_others(run: Run, tls: Contexts) -> None:
    """A chat room: what one says ends another, in the middle of a delivery."""

    async def main() -> None:
        first = await tls_pair(tls)
        second_client: Any = None

        class Ending(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                second_client.transport.abort()

        second_client, second_server = await tls_pair(tls)
        third = await tls_pair(tls, Ending)
        second_server.transport.write(payload(100_000))
        third[1].transport.write(b"end it")
        await third[0].received(6)
        await second_client.lost
        await second_server.lost
        await close_both(*first)
        await close_both(*third)

    run(main)
