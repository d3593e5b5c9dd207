"""The loop is asked for where it is needed, inside the program, and is nobody's parameter.

python examples/seeds/signals_of_the_running_loop.py      SIGUSR1 counts, SIGTERM ends it
"""

from __future__ import annotations

import asyncio
import signal

import tepal


async def main() -> None:
    """Count one signal until another comes."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1
        print(f"signal {count}", flush=True)

    loop.add_signal_handler(signal.SIGUSR1, counted)
    loop.add_signal_handler(signal.SIGTERM, done.set)
    print("ready", flush=True)
    await done.wait()
    print(f"{count} signals", flush=True)


if __name__ == "__main__":
    tepal.run(main)
