"""Callbacks and timers."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import Any

from ..probes import probe

WHERE = contextvars.ContextVar("WHERE", default="outside")


def elsewhere() -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(WHERE.set, "inside")
    return context


async def collect(schedule: Any, count: int = 1) -> list[Any]:
    """Schedule with a callback that collects, and wait until so many calls have come."""
    done = asyncio.get_running_loop().create_future()
    calls: list[Any] = []

    def callback(*args: object) -> None:
        calls.append((*args, WHERE.get()))
        if len(calls) == count:
            done.set_result(None)

    schedule(callback)
    await done
    return calls


@probe("call_soon", "callback", "args")
async def soon(loop: Any) -> object:
    def schedule(callback: Any) -> None:
        loop.call_soon(callback)
        loop.call_soon(callback, 1, "two")
        loop.call_soon(callback, "never").cancel()
        loop.call_soon(callback, 3)

    return await collect(schedule, 3)


@probe("call_soon", "context")
async def soon_context(loop: Any) -> object:
    return await collect(lambda callback: loop.call_soon(callback, context=elsewhere()))


@probe("call_later", "delay", "callback", "args")
async def later(loop: Any) -> object:
    def schedule(callback: Any) -> None:
        loop.call_later(0.02, callback, "last")
        loop.call_later(0.001, callback, "first")
        loop.call_later(-1, callback, "at once")
        loop.call_later(0.005, callback, "never").cancel()

    return await collect(schedule, 3)


@probe("call_later", "context")
async def later_context(loop: Any) -> object:
    return await collect(lambda callback: loop.call_later(0, callback, context=elsewhere()))


@probe("call_at", "when", "callback", "args")
async def at(loop: Any) -> object:
    when = loop.time() + 0.005
    handle = loop.call_at(when, print)
    handle.cancel()
    calls = await collect(lambda callback: loop.call_at(when, callback, "then"))
    return calls, handle.when() == when, loop.time() >= when - 0.002, isinstance(handle, asyncio.TimerHandle)


@probe("call_at", "context")
async def at_context(loop: Any) -> object:
    return await collect(lambda callback: loop.call_at(loop.time(), callback, context=elsewhere()))


@probe("time")
async def clock(loop: Any) -> object:
    return isinstance(loop.time(), float), abs(loop.time() - time.monotonic()) < 0.5


@probe("call_soon_threadsafe", "callback", "args")
async def threadsafe(loop: Any) -> object:
    def schedule(callback: Any) -> None:
        threading.Thread(target=loop.call_soon_threadsafe, args=(callback, "from a thread")).start()

    return await collect(schedule)


@probe("call_soon_threadsafe", "context")
async def threadsafe_context(loop: Any) -> object:
    return await collect(lambda callback: loop.call_soon_threadsafe(callback, context=elsewhere()))
