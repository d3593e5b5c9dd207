"""One entry point, and the loop has disappeared from the program.

python examples/seeds/produce_and_consume.py
"""

from __future__ import annotations

import asyncio

import tepal


async def produce(queue: asyncio.Queue[int], count: int) -> None:
    """Put numbers in, and end the queue."""
    for number in range(count):
        await queue.put(number)
        print(f"produced {number}")


async def consume(queue: asyncio.Queue[int], count: int) -> None:
    """Take as many out."""
    for _ in range(count):
        print(f"consumed {await queue.get()}")


async def main(count: int) -> None:
    """Run both until they have ended."""
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    await asyncio.gather(produce(queue, count), consume(queue, count))


if __name__ == "__main__":
    tepal.run(main, 3)
