"""asyncio's functions for tasks and waiting: those that have a native half, and those that asyncio's own serve as they are.

`sleep`, `timeout` and `timeout_at` are native and want a loop of tepal's; `gather`, `wait` and `shield` are native on one, and
asyncio's own on others. `wait_for` is asyncio's of Python 3.12 on every Python, `as_completed` that of 3.13.
`run_coroutine_threadsafe` is asyncio's: what it makes it makes by the loop.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import run_coroutine_threadsafe as run_coroutine_threadsafe
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ._sync import Queue
from ._tepal import gather as gather
from ._tepal import shield as shield
from ._tepal import sleep as sleep
from ._tepal import timeout as timeout
from ._tepal import wait as wait

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
    await wait([future])
    try:
        return future.result()
    except asyncio.CancelledError as error:
        raise TimeoutError from error


class _Completions(Generic[_T]):
    """What `as_completed` returns: both an iterator of coroutines and an asynchronous iterator of futures.

    Those that have ended lie in a queue in their order; None stands there for each that the end of the time cut off.
    """

    def __init__(self, awaitables: Iterable[Awaitable[_T]], timeout: float | None, limit: int | None) -> None:
        self._ended: Queue[asyncio.Future[_T] | None] = Queue()
        self._loop = asyncio.get_running_loop()
        self._waiting = deque(set(awaitables) if limit is None else dict.fromkeys(awaitables))
        self._left = len(self._waiting)
        self._pending: set[asyncio.Future[_T]] = set()
        for _ in range(self._left if limit is None else min(limit, self._left)):
            self._begin_next()
        self._timer = None
        if self._pending and timeout is not None:
            self._timer = self._loop.call_later(timeout, self._handle_timeout)

    def _begin_next(self) -> None:
        future = asyncio.ensure_future(self._waiting.popleft(), loop=self._loop)
        self._pending.add(future)
        future.add_done_callback(self._handle_done)

    def __iter__(self) -> Iterator[Coroutine[Any, Any, _T]]:
        return self

    def __aiter__(self) -> AsyncIterator[asyncio.Future[_T]]:
        return self

    def __next__(self) -> Coroutine[Any, Any, _T]:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._wait_for_result()

    async def __anext__(self) -> asyncio.Future[_T]:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return await self._wait_for_one()

    async def _wait_for_one(self) -> asyncio.Future[_T]:
        try:
            future: asyncio.Future[_T] | None = await self._ended.get()
        except BaseException:
            self._left += 1  # it was not taken, so it is still to come
            raise
        if future is None:
            raise TimeoutError
        return future

    async def _wait_for_result(self) -> _T:
        return (await self._wait_for_one()).result()

    def _handle_done(self, future: asyncio.Future[_T]) -> None:
        if future not in self._pending:
            return  # the time was over first
        self._pending.discard(future)
        self._ended.put_nowait(future)
        if self._waiting:
            self._begin_next()
        if not self._pending and self._timer is not None:
            self._timer.cancel()

    def _handle_timeout(self) -> None:
        for future in self._pending:
            future.remove_done_callback(self._handle_done)
            self._ended.put_nowait(None)
        self._pending.clear()
        for awaitable in self._waiting:
            self._ended.put_nowait(None)
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
        self._waiting.clear()


def as_completed(
    fs: Iterable[Awaitable[_T]], *, timeout: float | None = None, limit: int | None = None
) -> _Completions[_T]:
    """Run awaitables concurrently and get them in the order in which they end, as `asyncio.as_completed`.

    ``async for future in as_completed(fs)`` gives futures that have ended: those that were given, and tasks for whatever else was.
    ``for coroutine in as_completed(fs)`` gives coroutines, each of which waits for the next to end and returns its result.

    Args:
        fs: Coroutines, futures and other awaitables.
        timeout: Seconds at most for all of them together; None waits for ever.
        limit: How many coroutines run at a time, those that were named first first; None: all at once, as asyncio does.

    Returns:
        An iterator of either kind, on every Python.

    Raises:
        TypeError: What was given is an awaitable itself.
        ValueError: The limit is less than 1.
        RuntimeError: No loop of tepal's runs in this thread.
        TimeoutError: The time is over; raised by the iteration or by the coroutine.

    To call it is no checkpoint; each step of the iteration is one if nothing has ended yet.
    """
    if inspect.isawaitable(fs):
        raise TypeError(f"expects an iterable of awaitables, not {type(fs).__name__}")
    if limit is not None and limit < 1:
        raise ValueError("limit must be at least 1")
    return _Completions(fs, timeout, limit)
