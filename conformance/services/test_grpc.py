"""gRPC's asyncio side: its own poller wakes the loop through a socket, and everything else is its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import certificates
import grpc
import pytest


class Handlers(grpc.GenericRpcHandler):
    """Methods of every shape. They speak bytes, so nothing has to be generated."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.entered = asyncio.Event()
        self.methods = {
            "/t/Double": grpc.unary_unary_rpc_method_handler(self.double),
            "/t/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/t/Join": grpc.stream_unary_rpc_method_handler(self.join),
            "/t/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "/t/Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "/t/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
        }

    def service(self, details: Any) -> Any:
        return self.methods.get(details.method)

    async def double(self, request: bytes, context: Any) -> bytes:
        return request * 2

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b",".join([request async for request in requests])

    async def talk(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()

    async def hang(self, request: bytes, context: Any) -> bytes:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def fail(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as it should")
        return b""


def converse(
    main: Callable[[Any, Handlers], Awaitable[None]], server_keys: Any = None, client_keys: Any = None
) -> None:
    async def whole() -> None:
        handlers, server = Handlers(), grpc.aio.server()
        server.add_generic_rpc_handlers((handlers,))
        port = (
            server.add_secure_port("localhost:0", server_keys)
            if server_keys
            else server.add_insecure_port("127.0.0.1:0")
        )
        await server.start()
        where = f"localhost:{port}" if client_keys else f"127.0.0.1:{port}"
        channel = grpc.aio.secure_channel(where, client_keys) if client_keys else grpc.aio.insecure_channel(where)
        async with channel:
            await main(channel, handlers)
        await server.stop(None)

    asyncio.run(whole())


def test_one_for_one() -> None:
    async def main(channel: Any, handlers: Handlers) -> None:
        double = channel.unary_unary("/t/Double")
        assert await asyncio.gather(*(double(str(n).encode()) for n in range(100))) == [
            str(n).encode() * 2 for n in range(100)
        ]

    converse(main)


def test_streams_in_each_direction() -> None:
    async def main(channel: Any, handlers: Handlers) -> None:
        assert [item async for item in channel.unary_stream("/t/Count")(b"500")] == [
            str(n).encode() for n in range(500)
        ]

        async def items() -> AsyncIterator[bytes]:
            for n in range(100):
                yield str(n).encode()

        assert await channel.stream_unary("/t/Join")(items()) == b",".join(str(n).encode() for n in range(100))

    converse(main)


def test_both_at_once() -> None:
    async def main(channel: Any, handlers: Handlers) -> None:
        call = channel.stream_stream("/t/Talk")()
        for word in (b"one", b"two", b"three"):
            await call.write(word)
            assert await call.read() == word.upper()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF

    converse(main)


def test_a_cancelled_call_is_cancelled_at_the_server() -> None:
    async def main(channel: Any, handlers: Handlers) -> None:
        call = channel.unary_unary("/t/Hang")(b"")
        task = asyncio.ensure_future(call)
        await handlers.entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await handlers.cancelled.wait()

    converse(main)


def test_an_error_has_its_status() -> None:
    async def main(channel: Any, handlers: Handlers) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t/Fail")(b"")
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "as it should"

    converse(main)


def test_encrypted() -> None:
    async def main(channel: Any, handlers: Handlers) -> None:
        assert await channel.unary_unary("/t/Double")(b"x" * 100_000) == b"x" * 200_000

    leaf = certificates.leaf()
    pair = (leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
    root = certificates.authority().cert_pem.bytes()
    converse(main, grpc.ssl_server_credentials([pair]), grpc.ssl_channel_credentials(root))
