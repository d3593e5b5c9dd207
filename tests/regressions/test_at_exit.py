"""The interpreter ends while our objects are alive: it frees them, and runs `__del__` methods that call them.

While it ends, CPython says that it is not initialized and runs Python code all the same. A program that left a transport or
a handle in a cycle until then was aborted ("The Python interpreter is not initialized"), seen first with uvicorn and websockets.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = """
import asyncio, gc, tepal

class Keeper:
    def __init__(self, *kept):
        self.kept = kept
        self.me = self  # collected only at the very end, since gc is off

class Caller(Keeper):
    def __del__(self):
        thing, method, *args = self.kept
        print(method, getattr(thing, method)(*args))

async def main():
    loop = asyncio.get_running_loop()
    timer = loop.call_later(100, print)
    served = asyncio.Event()
    async def handle(reader, writer):
        await reader.read()
        writer.close()
        await writer.wait_closed()
        served.set()
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    transport = writer.transport
    KEEP
    writer.close()
    await writer.wait_closed()
    await served.wait()
    server.close()
    await server.wait_closed()

gc.disable()
tepal.run(main())
print("done")
"""

KEEPS = {
    "nothing": "pass",
    "a timer": "Keeper(timer)",
    "a transport": "Keeper(transport)",
    "a server": "Keeper(server)",
    "the loop": "Keeper(loop)",
    "a timer that is cancelled": "Caller(timer, 'cancel')",
    "a timer that is asked": "Caller(timer, 'cancelled')",
    "a transport that is closed": "Caller(transport, 'close')",
    "a transport that is aborted": "Caller(transport, 'abort')",
    "a transport that is asked": "Caller(transport, 'get_write_buffer_size')",
    "a transport that is shown": "Caller(transport, '__repr__')",
    "a server that is closed": "Caller(server, 'close')",
    "a loop that is closed": "Caller(loop, 'close')",
    "a loop that is asked": "Caller(loop, 'is_running')",
    "a loop that is asked the time": "Caller(loop, 'time')",
    "a loop that is shown": "Caller(loop, '__repr__')",
}


@pytest.mark.parametrize("kept", KEEPS)
def test_interpreter_ends_with_our_objects_alive(python: Run, tmp_path: Path, kept: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.replace("KEEP", KEEPS[kept]))
    done = python("program.py")
    assert (done.returncode, done.stderr) == (0, "")
    first, *later = done.stdout.splitlines()
    assert first == "done"
    assert len(later) == KEEPS[kept].startswith("Caller")
