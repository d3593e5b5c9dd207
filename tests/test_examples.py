"""Every example runs on tepal, answers, and ends as its first lines promise, whatever is in flight."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets.sync.client

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


class Served:
    """An example that runs: it has said where it listens and accepts connections."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            text: str = answer.read().decode()
            return text

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def end(self, number: int = signal.SIGINT) -> None:
        """Ask it to end; it must do so with 0 and without a word on stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        assert (self.process.returncode, errors) == (0, "")


@contextlib.contextmanager
def serve(*command: str) -> Iterator[Served]:
    port = free_port()
    process = subprocess.Popen(
        # Whatever is left open speaks up. (Not -X dev: asyncio's debug mode also tells of a machine that is busy.)
        [sys.executable, "-W", "always::ResourceWarning", "-m", "tepal", "run", *command],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert str(port) in line, process.communicate(timeout=20)
        wait_until_it_listens(port)
        yield Served(process, port)
    finally:
        process.kill()
        process.communicate()


def wait_until_it_listens(port: int) -> None:
    """Wait for the moment between an example's first line and its listening, which only the kernel can tell about."""

    async def knock() -> None:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    asyncio.run(knock())


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serve(str(EXAMPLES / request.param)) as served:
        yield served


@pytest.mark.parametrize("example", ["hello_aiohttp.py"], indirect=True)
class TestAiohttp:
    def test_page_and_json(self, example: Served) -> None:
        page = example.get("/")
        assert "<h1>Hello from tepal.EventLoop</h1>" in page
        status = json.loads(example.get("/api/status"))
        assert (status["loop"], status["requests"]) == ("tepal.EventLoop", 2)
        example.end()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ends_with_requests_in_flight(self, example: Served, number: int) -> None:
        with example.connect() as idle, example.connect() as slow:
            idle.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert idle.recv(15) == b"HTTP/1.1 200 OK"
            slow.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            # The server has the slow request when it has counted it.
            while json.loads(example.get("/api/status"))["requests"] < 2:
                pass
            example.end(number)
            assert b"two seconds later" in b"".join(iter(lambda: slow.recv(65536), b""))

    def test_ends_with_a_request_half_sent(self, example: Served) -> None:
        with example.connect() as half:
            half.sendall(b"GET / HT")
            example.get("/")
            example.end()


def test_aiohttp_says_what_is_wrong_with_the_port() -> None:
    def run(port: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tepal", "run", str(EXAMPLES / "hello_aiohttp.py"), port]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(str(port))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
        assert "Traceback" not in done.stderr
    assert run("http").returncode == 2


@pytest.mark.parametrize("example", ["hello_starlette.py"], indirect=True)
def test_starlette(example: Served) -> None:
    assert example.get("/") == "Hello, world!\n"
    assert json.loads(example.get("/api/status")) == {"loop": "tepal.EventLoop"}
    with websockets.sync.client.connect(f"ws://127.0.0.1:{example.port}/shout") as client:
        for word in ("hello", "again"):
            client.send(word)
            assert client.recv(timeout=20) == word.upper()
    example.end()


@pytest.mark.parametrize("example", ["echo_server.py"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_echo(example: Served, number: int) -> None:
    with example.connect() as one, example.connect() as other, one.makefile("rb") as lines:
        for line in (b"hello\n", b"x" * 10_000 + b"\n"):
            one.sendall(line)
            assert lines.readline() == line
        other.sendall(b"half a line")
        example.end(number)
        assert lines.read() == b"goodbye\n"


def test_every_example_is_listed_and_tested() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    tests = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f"({path.name})" in listed
        assert f'"{path.name}"' in tests
