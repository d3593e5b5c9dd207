"""A server in a coroutine: no loop is made, passed on, run or closed by hand.

python examples/seeds/serve_forever.py [port]      Ctrl-C ends it
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import tepal


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say hello, and close."""
    writer.write(b"hello\n")
    await writer.drain()
    writer.close()


async def main(port: int) -> None:
    """Serve until the program is interrupted."""
    server = await asyncio.start_server(greet, "127.0.0.1", port)
    print(f"Serving on port {server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        tepal.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 0)
