"""What the loop does not do yet is refused at the door, in a sentence, before anything is opened or called."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import tepal


def never() -> NoReturn:
    raise AssertionError("the factory must not be called")


CONTEXT = ssl.create_default_context()
REFUSED: dict[str, Callable[[Any], Awaitable[object]]] = {
    "datagrams": lambda loop: loop.create_datagram_endpoint(never, local_addr=("127.0.0.1", 0)),
    "read pipe": lambda loop: loop.connect_read_pipe(never, sys.stdin),
    "write pipe": lambda loop: loop.connect_write_pipe(never, sys.stdout),
    "shell": lambda loop: loop.subprocess_shell(never, "exit 1"),
    "exec": lambda loop: loop.subprocess_exec(never, sys.executable, "-c", "0"),
    "start_tls": lambda loop: loop.start_tls(None, None, CONTEXT),
    "connection": lambda loop: loop.create_connection(never, "127.0.0.1", 1, ssl=True),
    "server": lambda loop: loop.create_server(never, "127.0.0.1", 0, ssl=CONTEXT),
    "unix connection": lambda loop: loop.create_unix_connection(never, "/nowhere", ssl=True, server_hostname=""),
    "unix server": lambda loop: loop.create_unix_server(never, "/nowhere/at/all", ssl=CONTEXT),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(NotImplementedError, match=r"tepal does not support .* yet"):
            await REFUSED[name](loop)

    tepal.run(main())


@pytest.mark.parametrize("call", ["create_connection", "create_server", "connect_accepted_socket"])
def test_a_socket_that_was_handed_in_stays_open(call: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket() as sock:
            host = {"server_hostname": "name"} if call == "create_connection" else {}
            with pytest.raises(NotImplementedError, match="TLS"):
                await getattr(loop, call)(never, sock=sock, ssl=CONTEXT, **host)
            assert sock.fileno() != -1

    tepal.run(main())


def test_no_file_is_made_for_a_server_that_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError):
            await asyncio.get_running_loop().create_unix_server(never, tmp_path / "s", ssl=CONTEXT)

    tepal.run(main())
    assert not list(tmp_path.iterdir())
