"""What everyone writes over nurseries: run several and join them, race them, map over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, Literal, TypeVar

from ._channels import EndOfChannel
from ._nursery import Nursery
from ._sync import Semaphore
from ._tepal import ReceiveChannel, SendChannel, open_channel

T = TypeVar("T")
A = TypeVar("A")

Job = Awaitable[T] | Callable[[], Coroutine[Any, Any, T]]
"""What can be run: an async function without arguments (`functools.partial` gives it some), or an awaitable."""

Until = Literal["ended", "success"]


async def join(*jobs: Job[T], limit: int | None = None) -> list[T]:
    """Run several things concurrently, in a nursery, and wait for all: the structured `gather`.

    When one fails the others are cancelled and waited for, so nothing runs on behind the caller's back.

    Args:
        jobs: Async functions without arguments, or awaitables.
        limit: How many run at a time; None: all.

    Returns:
        What they return, in their order.

    Raises:
        ExceptionGroup: One or more have failed.
        TypeError: Something else is among them.
        ValueError: The limit is less than 1.

    A checkpoint if there is anything to run.
    """
    runs = _runs(jobs)
    async with Nursery(limit=limit) as nursery:
        tasks = [nursery.start_soon(run) for run in runs]
    return [task.result() for task in tasks]


async def race(*jobs: Job[T], until: Until = "ended") -> T:
    """Run several things concurrently until one has ended; the others are cancelled, and waited for.

    Args:
        jobs: Async functions without arguments, or awaitables; at least one.
        until: With ``"ended"`` the first to end has won, well or not. With ``"success"`` the first to end well has: the failures
            before it do not count, unless all have failed.

    Returns:
        What the winner returns. When several end in the same turn it is the one that was named first.

    Raises:
        BaseException: What the winner raises, with ``"ended"``.
        ExceptionGroup: All have failed, with ``"success"``; or one fails while it is being cancelled.
        TypeError: Something else is among them.
        ValueError: There is none, or `until` is neither.

    A checkpoint.
    """
    if until not in ("ended", "success"):
        raise ValueError(f"until must be 'ended' or 'success', not {until!r}")
    runs = _runs(jobs)
    if not runs:
        raise ValueError("race() needs at least one to run")
    outcomes: list[tuple[int, bool, Any]] = []

    async def enter(number: int, run: Callable[[], Coroutine[Any, Any, T]]) -> None:
        try:
            outcomes.append((number, True, await run()))
        except Exception as error:
            if nursery.cancel_scope.cancel_called:
                raise
            outcomes.append((number, False, error))
            if until == "success":
                return
        nursery.cancel_scope.cancel("the race is over")

    async with Nursery() as nursery:
        for number, run in enumerate(runs):
            nursery.start_soon(enter, number, run)
    ended_well = [outcome for outcome in outcomes if outcome[1] or until == "ended"]
    if not ended_well:
        raise ExceptionGroup("all have failed", [error for _, _, error in sorted(outcomes, key=lambda one: one[0])])
    # (The first to end decided; whoever ended in the same turn, before the cancellation came, has the number for it.)
    _, well, outcome = ended_well[0]
    if well:
        return outcome  # type: ignore[no-any-return]
    raise outcome


def amap(
    async_fn: Callable[[A], Coroutine[Any, Any, T]],
    items: Iterable[A] | AsyncIterable[A],
    *,
    limit: int | None = None,
    ordered: bool = True,
) -> AbstractAsyncContextManager[Results[T]]:
    """Call an async function for each of many items, concurrently, and receive the results as they come.

    ``async with tepal.amap(fetch, urls, limit=10) as results:`` makes ``async for result in results`` receive them. Leaving the
    block early ends what still runs. A failure ends the others and the block, and arrives behind it as an ExceptionGroup.

    Args:
        async_fn: Called with each item.
        items: The items; an asynchronous iterable is read as there is room.
        limit: How many calls there are at a time whose results have not been received; None: any number.
        ordered: Results come in the order of the items; else as they are there.

    Returns:
        What ``async with`` enters.

    Raises:
        ValueError: The limit is less than 1.

    Not a checkpoint; the iteration is one if it must wait.
    """
    if limit is not None and limit < 1:
        raise ValueError("limit must be at least 1")
    return _amap(async_fn, items, limit, ordered)


class Results(Generic[T]):
    """The results of `amap`: an async iterator."""

    def __init__(self, received: ReceiveChannel[asyncio.Future[T]], room: Semaphore | None) -> None:
        self._received = received
        self._room = room

    def __aiter__(self) -> Results[T]:
        """Iterate over the results. Not a checkpoint."""
        return self

    async def __anext__(self) -> T:
        """Wait for the next result. A checkpoint if it is not there."""
        try:
            result = await (await self._received.receive())
        except EndOfChannel:
            raise StopAsyncIteration from None
        if self._room is not None:
            self._room.release()
        return result


@asynccontextmanager
async def _amap(
    async_fn: Callable[[A], Coroutine[Any, Any, T]],
    items: Iterable[A] | AsyncIterable[A],
    limit: int | None,
    ordered: bool,
) -> AsyncIterator[Results[T]]:
    room = None if limit is None else Semaphore(limit)
    sender: SendChannel[asyncio.Future[T]]
    sender, receiver = open_channel(float("inf"))
    loop = asyncio.get_running_loop()

    async def call(item: A, place: asyncio.Future[T] | None, end: SendChannel[asyncio.Future[T]]) -> None:
        with end:
            result = await async_fn(item)
            if place is None:
                place = loop.create_future()
                end.send_nowait(place)
            if not place.done():  # whoever waited for it has been cancelled
                place.set_result(result)

    async def feed() -> None:
        with sender:
            async for item in _each(items):
                if room is not None:
                    await room.acquire()
                place = loop.create_future() if ordered else None
                if place is not None:
                    sender.send_nowait(place)
                nursery.start_soon(call, item, place, sender.clone())

    async with Nursery() as nursery:
        nursery.start_soon(feed)
        with receiver:
            yield Results(receiver, room)
        nursery.cancel_scope.cancel("the block was left")


async def _each(items: Iterable[A] | AsyncIterable[A]) -> AsyncIterator[A]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _runs(jobs: tuple[Job[T], ...]) -> list[Callable[[], Coroutine[Any, Any, T]]]:
    """Functions that return coroutines."""
    runs: list[Callable[[], Coroutine[Any, Any, T]]] = []
    for job in jobs:
        if asyncio.iscoroutine(job):
            runs.append(_returning(job))
        elif isinstance(job, Awaitable):
            runs.append(_awaiting(job))
        elif callable(job):
            runs.append(job)
        else:
            for given in jobs:
                if asyncio.iscoroutine(given):
                    given.close()
            raise TypeError(f"an async function or an awaitable was expected, got {job!r}")
    return runs


def _returning(coro: Coroutine[Any, Any, T]) -> Callable[[], Coroutine[Any, Any, T]]:
    return lambda: coro


def _awaiting(awaitable: Awaitable[T]) -> Callable[[], Coroutine[Any, Any, T]]:
    async def wait() -> T:
        return await awaitable

    return wait
