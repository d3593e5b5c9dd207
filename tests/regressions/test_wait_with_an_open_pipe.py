"""Process.wait() returns when the process has ended, also when a child of its own still holds its pipes.

Who had begun to wait before the end waited for the pipes, too: for ever, when a grandchild lives on. asyncio had the same
until its releases of 2026, so there is no twin; CPython's own test of it runs in conformance/cpython where it is there.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from subprocess import PIPE

import tepal

PROGRAM = """
import os, signal, sys
if os.fork():
    signal.pause()
os.write(1, b"ready")
sys.stdin.read()
"""


def test_wait_with_an_open_pipe() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        waiting = asyncio.create_task(process.wait())
        assert await process.stdout.readexactly(5) == b"ready"
        assert not waiting.done()
        process.kill()
        assert await asyncio.wait_for(waiting, 30) == -signal.SIGKILL
        assert not process.stdout.at_eof()
        process.stdin.close()
        assert await process.stdout.read() == b""

    tepal.run(main())
