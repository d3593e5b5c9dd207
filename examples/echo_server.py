"""An echo server over asyncio's streams, without any library: what comes in goes out, line by line.

    tepal run examples/echo_server.py

The port comes from PORT, 7007 otherwise; try it with `nc 127.0.0.1 7007`. Ctrl-C or SIGTERM says goodbye to the open
connections and ends with 0.
"""

import asyncio
import os
import signal


class EchoServer:
    """Answers every line with itself, and knows its connections so that it can end them."""

    def __init__(self) -> None:
        self._connections: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except asyncio.CancelledError:
            # Only serve_until() cancels us, and it waits for us: the goodbye is how this connection's task ends.
            writer.write(b"goodbye\n")
        except ConnectionError:
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def serve_until(self, stop: asyncio.Event, port: int) -> None:
        server = await asyncio.start_server(self.handle, "127.0.0.1", port)
        print(f"nc 127.0.0.1 {port}  (Ctrl-C ends)", flush=True)
        await stop.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)
        await server.wait_closed()


async def main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await EchoServer().serve_until(stop, int(os.environ.get("PORT", "7007")))


if __name__ == "__main__":
    asyncio.run(main())
