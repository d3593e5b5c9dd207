"""asyncssh, client and server: a protocol of many channels over one of our transports, and sockets forwarded through it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest


async def shell(process: asyncssh.SSHServerProcess[str]) -> None:
    """What the server runs: one word of command, then what comes in."""
    if process.command == "upper":
        async for line in process.stdin:
            process.stdout.write(line.upper())
        process.exit(0)
    elif process.command == "fail":
        process.stderr.write("as it should\n")
        process.exit(3)
    else:
        await asyncio.Event().wait()


class Doorman(asyncssh.SSHServer):
    """Lets in whoever knows the word, and connects them to wherever they want."""

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "tulip"

    def connection_requested(self, *where: Any) -> bool:
        return True


def converse(main: Callable[[Any], Awaitable[None]], tmp_path: Path, **options: Any) -> None:
    async def whole() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], server_factory=Doorman, process_factory=shell,
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(tmp_path)), **options,
        )  # fmt: skip
        async with server:
            port = server.sockets[0].getsockname()[1]
            known = asyncssh.import_known_hosts(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
            where = {"known_hosts": known, "username": "me", "client_keys": None, "config": None}
            async with asyncssh.connect("127.0.0.1", port, password="tulip", **where) as connection:
                await main(connection)
            with pytest.raises(asyncssh.PermissionDenied):
                await asyncssh.connect("127.0.0.1", port, password="rose", **where)

    asyncio.run(whole())


def test_commands(tmp_path: Path) -> None:
    async def main(connection: Any) -> None:
        text = "".join(f"line {n}\n" for n in range(5000))
        results = await asyncio.gather(*(connection.run("upper", input=text) for _ in range(4)))
        assert [result.stdout for result in results] == [text.upper()] * 4
        failed = await connection.run("fail")
        assert (failed.exit_status, failed.stderr) == (3, "as it should\n")

    converse(main, tmp_path)


def test_a_channel_that_is_cancelled_leaves_the_others(tmp_path: Path) -> None:
    async def main(connection: Any) -> None:
        process = await connection.create_process("hang")
        waiter = asyncio.create_task(process.wait())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        process.close()
        assert (await connection.run("upper", input="alive\n")).stdout == "ALIVE\n"

    converse(main, tmp_path)


def test_files(tmp_path: Path) -> None:
    async def main(connection: Any) -> None:
        data = bytes(range(256)) * 4096
        async with connection.start_sftp_client() as files:
            async with files.open("/file", "wb") as file:
                await file.write(data)
            assert (await files.stat("/file")).size == len(data)
            async with files.open("/file", "rb") as file:
                assert await file.read() == data
        assert (tmp_path / "file").read_bytes() == data

    converse(main, tmp_path)


def test_a_forwarded_port(tmp_path: Path) -> None:
    async def main(connection: Any) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as target:
            port = target.sockets[0].getsockname()[1]
            forwarded = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port)
            reader, writer = await asyncio.open_connection("127.0.0.1", forwarded.get_port())
            data = bytes(200_000)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data
            writer.close()
            await writer.wait_closed()
            forwarded.close()
            await forwarded.wait_closed()

    converse(main, tmp_path)
