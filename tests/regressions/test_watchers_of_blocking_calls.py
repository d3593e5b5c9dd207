"""A tool that forbids blocking calls on the loop's thread (blockbuster) forbids none of ours: aiohttp's tests run under one.

It replaces functions of `os` and looks at who calls; asyncio's own files are on its list, ours are not.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import tepal


def test_a_unix_server_comes_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        for _ in range(2):  # the second time a stale socket has to go
            server = await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, path, cleanup_socket=False)
            server.close()
            await server.wait_closed()
        server = await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, path, cleanup_socket=True)
        server.close()
        await server.wait_closed()

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a blocking call")

    for name in ("stat", "lstat", "unlink", "remove", "chmod"):
        monkeypatch.setattr(os, name, forbidden)
    try:
        tepal.run(main())
    finally:
        monkeypatch.undo()
    assert not Path(path).exists()
