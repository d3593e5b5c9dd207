"""``call_soon``: the heartbeat."""

from __future__ import annotations

import asyncio

from benches.micro._case import Cases, Stopwatch

callbacks = Cases()


@callbacks.add("call_soon_chain", 50_000)
async def chain(count: int, watch: Stopwatch) -> None:
    """Each callback schedules the next: one turn of the loop per operation."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done


@callbacks.add("call_soon_fan", 50_000)
async def fan(count: int, watch: Stopwatch) -> None:
    """All are scheduled first and run in one turn."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def step() -> None:
        pass

    for _ in range(count):
        loop.call_soon(step)
    loop.call_soon(done.set_result, None)
    await done


@callbacks.add("call_soon_args", 50_000)
async def with_arguments(count: int, watch: Stopwatch) -> None:
    """A chain that hands three arguments on."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def step(left: int, first: str, second: None) -> None:
        if left:
            loop.call_soon(step, left - 1, first, second)
        else:
            done.set_result(None)

    loop.call_soon(step, count - 1, "first", None)
    await done
