"""Threads for tasks, and tasks for threads: `to_thread.run`, what `from_thread` has, and a portal for foreign threads.

A call runs in a thread of a pool of its own, as many at a time as its limiter allows. The task that made it is its host: what the
thread has run on the loop is run by the host, or by a task of its own in the host's place, and so in the host's scopes.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from ._channels import EndOfChannel
from ._limiter import CapacityLimiter
from ._nursery import Nursery
from ._scopes import Cancelled, shield
from ._tepal import CancelScope, current_scope, open_channel
from ._workers import WorkerPool

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TOKENS = 40
"""How many calls of a loop run at a time, if nobody says otherwise (Trio's number)."""

_pool = WorkerPool(sys.maxsize, "tepal-thread")
_limiters: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityLimiter] = weakref.WeakKeyDictionary()
_here = threading.local()
_calls: set[Call] = set()
"""Those whose threads have not ended."""

Request = tuple[Callable[..., Any], tuple[Any, ...], contextvars.Context, "Future[Any]"]


class Call:
    """One call in a thread, as the thread and its host see it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.scope: CancelScope | None = current_scope()
        self.cancelled = False
        """The host was cancelled by an ordinary request."""
        self.abandoned = False
        """The host waits no more."""
        self.thread: threading.Thread | None = None
        """The thread, while the function runs."""
        self._requests, self._received = open_channel(float("inf"))

    def ask(self, request: Request) -> None:
        """Have the host run something (called in the loop's thread)."""
        if self.abandoned:
            request[3].set_exception(self.cancellation())
        else:
            self._requests.send_nowait(request)

    def end(self) -> None:
        """The thread has done its work (called in the loop's thread)."""
        self._requests.close()

    async def serve(self) -> None:
        """Run what the thread asks for, until it has done its work."""
        while True:
            try:
                with shield():
                    request = await self._received.receive()
            except EndOfChannel:
                return
            except asyncio.CancelledError:
                # An ordinary request, which a shield does not hold off: the thread cannot be left alone, so it waits, too.
                self.cancelled = True
                continue
            try:
                await _answer(*request)
            except asyncio.CancelledError as error:
                # The thread has been told, and goes on; so does the wait for it.
                self.cancelled |= not isinstance(error, Cancelled)

    def abandon(self) -> str | None:
        """Wait no more, not even at the end of the process; the thread's name, if it still runs and was waited for."""
        if self.abandoned or self.thread is None:
            return None
        self.abandoned = True
        _pool.give_up(self.thread)
        return self.thread.name

    def is_cancelled(self) -> bool:
        return self.abandoned or self.cancelled or (self.scope is not None and self.scope._is_effectively_cancelled())

    def cancellation(self) -> Cancelled:
        return Cancelled._make("explicit", "the task that waits for this thread was cancelled", None)


async def _answer(
    function: Callable[..., Any], arguments: tuple[Any, ...], context: contextvars.Context, outcome: Future[Any]
) -> None:
    """Run something for a thread, in its context, and tell it the outcome."""
    if not outcome.set_running_or_notify_cancel():
        return

    async def run() -> None:
        try:
            result = function(*arguments)
            if asyncio.iscoroutine(result):
                result = await result
        except BaseException as error:
            outcome.set_exception(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            outcome.set_result(result)

    async with Nursery() as nursery:
        nursery.start_soon(run, context=context)


async def run(
    sync_fn: Callable[[*Ts], T],
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    abandon_on_cancel: bool = False,
) -> T:
    """Call a function in a thread, and wait for it.

    It runs in a copy of the current context. Inside it the functions of `tepal.from_thread` come back to the loop.

    Args:
        sync_fn: The function.
        args: Its arguments.
        limiter: Allows so many calls at a time; by default one of 40 for the loop (`current_default_thread_limiter`).
        abandon_on_cancel: Whether a task that is cancelled leaves the thread to itself. Otherwise it waits until the function has
            returned, and is cancelled then; the function can ask `from_thread.check_cancelled`.

    Returns:
        What the function returns.

    Raises:
        BaseException: What it raises.

    A checkpoint.
    """
    loop = asyncio.get_running_loop()
    limiter = limiter or current_default_thread_limiter()
    borrower = object()
    await limiter.acquire_on_behalf_of(borrower)
    call = Call(loop)
    context = contextvars.copy_context()

    def work() -> T:
        _here.call = call
        call.thread = threading.current_thread()
        if call.abandoned:
            _pool.give_up(call.thread)
        try:
            return context.run(sync_fn, *args)
        finally:
            thread, call.thread = call.thread, None
            _pool.take_back(thread)
            del _here.call

    def done() -> None:
        limiter.release_on_behalf_of(borrower)
        _calls.discard(call)
        call.end()

    def tell(_job: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits
            loop.call_soon_threadsafe(done)

    try:
        job = _pool.submit(work)
    except BaseException:
        limiter.release_on_behalf_of(borrower)
        raise
    _calls.add(call)
    job.add_done_callback(tell)
    if abandon_on_cancel:
        await _wait_or_abandon(call)
    else:
        await call.serve()
        task = asyncio.current_task()
        if call.cancelled and task is not None:
            # The request is heard at the next wait; the count of requests stays as it is.
            task.uncancel()
            task.cancel()
    return job.result()


async def _wait_or_abandon(call: Call) -> None:
    try:
        async for request in call._received:
            await _answer(*request)
    except asyncio.CancelledError:
        call.abandon()
        call.abandoned = True
        raise


def abandon_threads(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Wait for no thread of a loop any more, for the loop ends.

    Args:
        loop: The loop.

    Returns:
        The names of those that still run.
    """
    calls = [call for call in _calls if call.loop is loop]
    _calls.difference_update(calls)
    return [name for call in calls if (name := call.abandon()) is not None]


def current_default_thread_limiter() -> CapacityLimiter:
    """Return the limiter of `to_thread.run` for the running loop, whose number of tokens may be changed.

    Raises:
        RuntimeError: No loop runs.

    Not a checkpoint.
    """
    loop = asyncio.get_running_loop()
    limiter = _limiters.get(loop)
    if limiter is None:
        limiter = _limiters[loop] = CapacityLimiter(TOKENS)
    return limiter


class ToThread:
    """`tepal.to_thread`: asyncio's function, and the namespace of `run`."""

    run = staticmethod(run)
    current_default_thread_limiter = staticmethod(current_default_thread_limiter)

    async def __call__(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread of the loop's default executor, as `asyncio.to_thread`.

        Args:
            func: The function; it runs in a copy of the current context.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What it returns. A task that is cancelled does not wait for it.

        A checkpoint.
        """
        return await asyncio.to_thread(func, *args, **kwargs)

    def __repr__(self) -> str:
        return "<tepal.to_thread>"


to_thread = ToThread()


def _call() -> Call:
    call: Call | None = getattr(_here, "call", None)
    if call is None:
        raise RuntimeError("this is no thread of to_thread.run(): use tepal.open_portal() there")
    return call


def from_thread_run(async_fn: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
    """Run an async function on the loop, from a thread of `to_thread.run`, and wait for it.

    It runs in the place of the task that waits for the thread: cancelled with it, in the thread's context.

    Args:
        async_fn: The function.
        args: Its arguments.

    Returns:
        What it returns.

    Raises:
        RuntimeError: This is no such thread.
        tepal.Cancelled: The task was cancelled, and waits no more.
        BaseException: What the function raises.
    """
    return _ask(async_fn, args)  # type: ignore[no-any-return]


def from_thread_run_sync(sync_fn: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function on the loop, from a thread of `to_thread.run`, and wait for it.

    Args:
        sync_fn: The function.
        args: Its arguments.

    Returns:
        What it returns.

    Raises:
        RuntimeError: This is no such thread.
        tepal.Cancelled: The task that runs the thread was cancelled, and waits no more.
        BaseException: What the function raises.
    """
    return _ask(sync_fn, args)  # type: ignore[no-any-return]


def check_cancelled() -> None:
    """Raise `tepal.Cancelled` if the task that waits for this thread of `to_thread.run` is cancelled.

    Raises:
        RuntimeError: This is no such thread.
        tepal.Cancelled: It is.
    """
    call = _call()
    if call.is_cancelled():
        raise call.cancellation()


def _ask(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    call = _call()
    outcome: Future[Any] = Future()
    call.loop.call_soon_threadsafe(call.ask, (function, arguments, contextvars.copy_context(), outcome))
    return outcome.result()


class Portal:
    """By which any thread comes to a loop; `open_portal` makes it."""

    def __init__(self, nursery: Nursery) -> None:
        self._loop = asyncio.get_running_loop()
        self._nursery = nursery
        self._thread = threading.get_ident()

    def start_soon(self, async_fn: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> Future[T]:
        """Run an async function on the loop, and do not wait for it.

        Args:
            async_fn: The function.
            args: Its arguments.

        Returns:
            Its outcome, when there is one. What it raises is there, and nowhere else.

        Raises:
            RuntimeError: The portal is closed.
        """
        return self._start(async_fn, args)

    def run(self, async_fn: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """Run an async function on the loop, and wait for it.

        Args:
            async_fn: The function.
            args: Its arguments.

        Returns:
            What it returns.

        Raises:
            RuntimeError: The portal is closed, or this is the loop's own thread.
            BaseException: What the function raises.
        """
        self._check_thread()
        return self._start(async_fn, args).result()  # type: ignore[no-any-return]

    def run_sync(self, sync_fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a function on the loop, and wait for it.

        Args:
            sync_fn: The function.
            args: Its arguments.

        Returns:
            What it returns.

        Raises:
            RuntimeError: The portal is closed, or this is the loop's own thread.
            BaseException: What the function raises.
        """
        self._check_thread()
        return self._start(sync_fn, args).result()  # type: ignore[no-any-return]

    def _check_thread(self) -> None:
        if threading.get_ident() == self._thread:
            raise RuntimeError("the loop's own thread cannot wait for the loop")

    def _start(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        outcome: Future[Any] = Future()
        context = contextvars.copy_context()

        async def answer() -> None:
            with suppress(asyncio.CancelledError):
                await _answer(function, arguments, context, outcome)

        def start() -> None:
            try:
                self._nursery.start_soon(answer)
            except RuntimeError:
                outcome.set_exception(RuntimeError("the portal is closed"))

        self._loop.call_soon_threadsafe(start)
        return outcome


@asynccontextmanager
async def open_portal() -> AsyncIterator[Portal]:
    """Open a portal: ``async with tepal.open_portal() as portal:``. Any thread may use it to run things on this loop.

    At the end of the block it waits for what was started; a block that is cancelled, or raises, cancels that.

    Yields:
        The portal.

    Leaving the block is a checkpoint if something runs.
    """
    async with Nursery() as nursery:
        yield Portal(nursery)
