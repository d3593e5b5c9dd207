"""A TCP server that ends well: Ctrl-C, or SIGTERM, is what it waits for, and no error.

python examples/seeds/echo_until_interrupt.py [port]
"""

from __future__ import annotations

import sys

import tepal


async def echo(reader: tepal.StreamReader, writer: tepal.StreamWriter) -> None:
    """Send back what comes, line by line."""
    async for line in reader:
        writer.write(line)
        await writer.drain()
    writer.close()


async def main(port: int) -> None:
    """Serve until somebody interrupts; clients that are idle then have a second."""
    server = await tepal.start_server(echo, "127.0.0.1", port)
    print(f"Serving on port {server.sockets[0].getsockname()[1]}", flush=True)
    signum = await tepal.wait_for_interrupt()
    print(f"{signum.name}: closing", flush=True)
    assert isinstance(server, tepal.Server)
    server.close(grace=1)
    await server.wait_closed()


if __name__ == "__main__":
    tepal.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 0)
