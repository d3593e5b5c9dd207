"""The measured programs do what their rows say, on asyncio's loop and small: a row of wrong work is worse than none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benches import certificates, loops
from benches.families import all_families
from benches.families.files import SIZE, sparse_file
from benches.loops import ACCELERATED, FLOOR, LAYERS, TRIO
from benches.micro import CASES, pipes
from benches.micro.__main__ import run
from benches.model import MeasureError
from benches.processes import Child, python

no_openssl = pytest.mark.skipif(certificates.missing() is not None, reason="the openssl command is not installed")


@contextlib.contextmanager
def serving(module: str, *words: str) -> Iterator[tuple[str, int]]:
    with python(f"benches.servers.{module}", "asyncio", *words, core=None) as server:
        yield "127.0.0.1", int(server.read_line())


@no_openssl
@pytest.mark.parametrize("key", list(certificates.KEYS))
@pytest.mark.parametrize("module", ["protocol", "streams"])
def test_an_echo_is_encrypted_when_a_certificate_is_given(module: str, key: str) -> None:
    path = certificates.certificate(key)
    trusting = ssl.create_default_context(cafile=str(path))
    with (
        serving(module, str(path)) as address,
        socket.create_connection(address, timeout=30) as plain,
        trusting.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
        assert sock.version() == "TLSv1.3"


@no_openssl
def test_a_certificate_is_for_its_owner_alone_and_made_once() -> None:
    path = certificates.certificate("ecdsa")
    assert path.stat().st_mode & 0o077 == 0
    assert certificates.certificate("ecdsa") is path


def test_datagrams_come_back_to_whom_they_came_from() -> None:
    with serving("datagrams") as address, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for number, sock in enumerate(socks):
            sock.settimeout(30)
            sock.sendto(b"%d" % number, address)
        assert [sock.recv(100) for sock in socks] == [b"0", b"1"]


def test_a_file_comes_whole_and_then_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    with serving("files", str(path)) as address, socket.create_connection(address, timeout=30) as sock:
        sock.sendall(b"!")
        with sock.makefile("rb") as stream:
            assert stream.read() == path.read_bytes()


def test_the_gigabyte_takes_no_room() -> None:
    state = sparse_file().stat()
    assert state.st_size == SIZE
    assert state.st_blocks * 512 < SIZE // 100


def test_a_server_that_cannot_start_says_why_and_not_how_the_interpreter_ended() -> None:
    with (
        python("benches.servers.protocol", "asyncio", "/no/such/certificate", core=None) as server,
        pytest.raises(MeasureError, match="FileNotFoundError"),
    ):
        server.read_line()


def test_a_child_that_has_ended_tells_its_last_words_and_one_that_lives_has_none() -> None:
    with Child([sys.executable, "-c", "raise SystemExit('no such feature')"], None) as child:
        with pytest.raises(MeasureError):
            child.read_line()
        ended = child.ended()
    assert ended is not None
    assert ended.endswith("no such feature")
    with Child([sys.executable, "-c", "input()"], None) as child:
        assert child.ended() is None


@pytest.mark.parametrize(
    "name", ["spawn/small", "spawn/concurrent", "pipe/child", "pipe/cat", "pipe/pair", "getaddrinfo/ipv4"]
)
def test_a_body_runs_to_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["benches.micro.pipes"], "_SIZE", 1_000_000)
    watch = run(CASES[name], asyncio.new_event_loop, 3)
    assert watch.wall > 0


def test_what_comes_out_of_a_pipe_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["benches.micro.pipes"]
    count = module._count

    async def count_wrongly(reader: asyncio.StreamReader) -> int:
        return int(await count(reader)) - 1

    monkeypatch.setattr(module, "_SIZE", 1_000_000)
    monkeypatch.setattr(module, "_count", count_wrongly)
    with pytest.raises(RuntimeError, match="999999 bytes came out of 1000000"):
        run(pipes["pipe/child"], asyncio.new_event_loop, 1)


def test_what_stands_beside_the_loops_has_a_name() -> None:
    for family in all_families():
        assert set(family.extras) <= {ACCELERATED, FLOOR, TRIO, *LAYERS}


def test_a_layer_that_is_missing_is_named_with_its_reason() -> None:
    found = loops.find("aiofastnet")
    assert found.version or "aiofastnet" in str(found.reason)


def test_a_first_impression_has_a_part_of_every_kind() -> None:
    kinds = {case.id.split("/")[0] for family in all_families() for case in family.cases(quick=False)}
    assert {case.id.split("/")[0] for family in all_families() for case in family.cases(quick=True)} == kinds
