"""hypercorn with HTTP/2, spoken to by a small client made of h2 and asyncio's streams."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import certificates
import h2.config
import h2.connection
import h2.events
from hypercorn.asyncio import serve
from hypercorn.config import Config


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was sent, or with as many bytes as the path says."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["path"].startswith("/bytes/"):
        body = b"b" * int(scope["path"].rpartition("/")[2])
    headers = [(b"x-version", scope["http_version"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for start in range(0, len(body), 50_000):
        await send({"type": "http.response.body", "body": body[start : start + 50_000], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Client:
    """As much of HTTP/2 as these tests need: requests side by side on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.state.initiate_connection()
        self.answers: dict[int, tuple[dict[str, str], bytes]] = {}

    def ask(self, path: str, body: bytes = b"") -> int:
        stream = self.state.get_next_available_stream_id()
        head = [(":method", "POST"), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self.state.send_headers(stream, head)
        self.state.send_data(stream, body, end_stream=True)
        return stream

    async def answer(self, *streams: int) -> list[tuple[dict[str, str], bytes]]:
        ended: set[int] = set()
        while not ended.issuperset(streams):
            self.writer.write(self.state.data_to_send())
            await self.writer.drain()
            data = await self.reader.read(65536)
            assert data, "the server closed"
            for event in self.state.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    self.answers[event.stream_id] = (dict(event.headers), b"")
                elif isinstance(event, h2.events.DataReceived):
                    head, body = self.answers[event.stream_id]
                    self.answers[event.stream_id] = (head, body + event.data)
                    self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    ended.add(event.stream_id)
        return [self.answers[stream] for stream in streams]


def converse(main: Callable[[Client], Awaitable[None]], tmp_path: Path, *, encrypted: bool) -> None:
    async def whole() -> None:
        config = Config()
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port, config.bind, config.errorlog = sock.getsockname()[1], [f"fd://{sock.fileno()}"], None
            if encrypted:
                files = certificates.write(tmp_path)
                config.certfile, config.keyfile = str(files.certificate), str(files.key)
            stop = asyncio.Event()
            server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
            context = certificates.client_context("h2") if encrypted else None
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            if encrypted:
                tls = writer.get_extra_info("ssl_object")
                assert isinstance(tls, ssl.SSLObject)
                assert tls.selected_alpn_protocol() == "h2"
            await main(Client(reader, writer))
            writer.close()
            await writer.wait_closed()
            stop.set()
            await server
            sock.detach()  # hypercorn took the descriptor over, and has closed it

    asyncio.run(whole())


async def many_requests(client: Client) -> None:
    streams = [client.ask("/echo", f"request {n}".encode() * 100) for n in range(20)]
    for n, (head, body) in enumerate(await client.answer(*streams)):
        assert (head[":status"], head["x-version"]) == ("200", "2")
        assert body == f"request {n}".encode() * 100


async def large_answers(client: Client) -> None:
    streams = [client.ask("/bytes/600000") for _ in range(3)]
    assert [len(body) for _, body in await client.answer(*streams)] == [600_000] * 3


def test_requests_side_by_side(tmp_path: Path) -> None:
    converse(many_requests, tmp_path, encrypted=False)


def test_answers_past_the_window(tmp_path: Path) -> None:
    converse(large_answers, tmp_path, encrypted=False)


def test_requests_side_by_side_encrypted(tmp_path: Path) -> None:
    converse(many_requests, tmp_path, encrypted=True)


def test_answers_past_the_window_encrypted(tmp_path: Path) -> None:
    converse(large_answers, tmp_path, encrypted=True)
