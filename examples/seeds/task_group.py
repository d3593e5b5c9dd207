"""asyncio's own group: more convenient than gather, and nothing is left behind.

python examples/seeds/task_group.py
"""

from __future__ import annotations

import asyncio

import tepal


async def square(number: int) -> int:
    """Let others run, and multiply."""
    await asyncio.sleep(0)
    return number * number


async def main() -> None:
    """Tasks come in buckets."""
    async with tepal.TaskGroup() as group:
        tasks = [group.create_task(square(number)) for number in range(4)]
    print([task.result() for task in tasks])


if __name__ == "__main__":
    tepal.run(main)
