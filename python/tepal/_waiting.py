"""asyncio's functions for tasks and waiting: those that have a native half, and those that asyncio's own serve as they are.

`sleep`, `timeout` and `timeout_at` are native and want a loop of tepal's. `wait_for` is asyncio's of Python 3.12 on every Python.
All others (`gather`, `wait`, `shield`, `as_completed`, `TaskGroup`, `to_thread`, `run_coroutine_threadsafe`) are asyncio's: they
make their tasks and futures by the loop, which makes native ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from ._tepal import sleep as sleep
from ._tepal import timeout as timeout

_T = TypeVar("_T")


async def wait_for(fut: Awaitable[_T], timeout: float | None) -> _T:
    """Wait for an awaitable, at most for a time.

    The awaitable runs in the caller's own task, unless it is a future or there is no time at all. When the time is over it is
    cancelled, and waited for until it has ended. As `asyncio.wait_for`.

    Args:
        fut: A coroutine, a future, or anything else that can be awaited.
        timeout: Seconds; None waits for ever, 0 or less does not wait: what is not done is cancelled.

    Returns:
        What the awaitable returns.

    Raises:
        TimeoutError: The time is over.
        RuntimeError: No loop of tepal's runs in this thread.

    A checkpoint if the awaitable is one.
    """
    if timeout is not None and timeout <= 0:
        return await _wait_for_now(fut)
    async with _timeout(timeout):
        return await fut


_timeout = timeout


async def _wait_for_now(awaitable: Awaitable[_T]) -> _T:
    future: asyncio.Future[_T] = asyncio.ensure_future(awaitable)
    if future.done():
        return future.result()
    future.cancel()
    await asyncio.wait([future])
    try:
        return future.result()
    except asyncio.CancelledError as error:
        raise TimeoutError from error
