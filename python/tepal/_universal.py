"""Primitives between threads and tasks: either side may wait for the other, on any loop. After Curio's universal queue.

A method of one name for each: ``get`` for tasks, ``get_sync`` for threads. (Curio has one name for both, and looks at who calls; a
type checker cannot.) Who waits is served first come, first served, whichever side he is on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from ._sync import QueueEmpty, QueueFull

T = TypeVar("T")


class UniversalStatistics(NamedTuple):
    """How a universal primitive stands."""

    waiters: int
    """Threads and tasks that wait."""
    size: int
    """Items in a queue; 1 for a lock that is held or an event that is set."""


class _Waiter:
    """A thread or a task that waits. What it is given it has when `granted` is true."""

    __slots__ = ("_event", "_future", "_loop", "granted", "value")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None if loop is None else loop.create_future()
        self._event = threading.Event() if loop is None else None
        self.granted = False
        self.value: Any = None

    def grant(self, value: Any = None) -> bool:
        """Give it something, and wake it (under the primitive's lock); whether there is still somebody to be woken."""
        self.granted, self.value = True, value
        if self._event is not None:
            self._event.set()
            return True
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # its loop was closed
            self.granted = False
        return self.granted

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class _Waiting:
    """What all of them share: a lock for the state, and those who wait, in their order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()

    def statistics(self) -> UniversalStatistics:
        """Return how it stands. Not a checkpoint."""
        with self._lock:
            return UniversalStatistics(len(self._waiters), self._size())

    def _size(self) -> int:
        raise NotImplementedError

    def _grant_next(self, waiters: deque[_Waiter], value: Any = None) -> bool:
        """Give something to the first who waits; whether somebody did."""
        while waiters:
            if waiters.popleft().grant(value):
                return True
        return False


async def _wait(
    lock: threading.Lock, waiters: deque[_Waiter], waiter: _Waiter, give_back: Callable[[Any], None]
) -> Any:
    """Wait in a task; what was given to one who is cancelled goes back."""
    assert waiter._future is not None
    try:
        await waiter._future
    except BaseException:
        with lock:
            if waiter.granted:
                give_back(waiter.value)
            elif waiter in waiters:  # or it was passed by, because its loop is closed
                waiters.remove(waiter)
        raise
    return waiter.value


def _wait_sync(lock: threading.Lock, waiters: deque[_Waiter], waiter: _Waiter, timeout: float | None) -> bool:
    """Wait in a thread; whether it was given something in time."""
    assert waiter._event is not None
    if not waiter._event.wait(timeout):
        with lock:
            if not waiter.granted:
                waiters.remove(waiter)
                return False
    return True


class UniversalEvent(_Waiting):
    """An event that threads and tasks set and wait for."""

    def __init__(self) -> None:
        """Make an event that is not set."""
        super().__init__()
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether it is set. Not a checkpoint."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all who wait. Not a checkpoint."""
        with self._lock:
            self._is_set = True
            while self._grant_next(self._waiters):
                pass

    def clear(self) -> None:
        """Reset it. Not a checkpoint."""
        with self._lock:
            self._is_set = False

    async def wait(self) -> None:
        """Wait, in a task, until it is set. A checkpoint if it is not."""
        with self._lock:
            if self._is_set:
                return
            waiter = _Waiter(asyncio.get_running_loop())
            self._waiters.append(waiter)
        await _wait(self._lock, self._waiters, waiter, lambda _value: None)

    def wait_sync(self, timeout: float | None = None) -> bool:
        """Wait, in a thread, until it is set.

        Args:
            timeout: Seconds at most; None waits as long as it takes.

        Returns:
            Whether it was set in time.
        """
        with self._lock:
            if self._is_set:
                return True
            waiter = _Waiter(None)
            self._waiters.append(waiter)
        return _wait_sync(self._lock, self._waiters, waiter, timeout)

    def _size(self) -> int:
        return int(self._is_set)


class UniversalLock(_Waiting):
    """A lock that threads and tasks hold: ``with lock:`` in a thread, ``async with lock:`` in a task."""

    def __init__(self) -> None:
        """Make a lock that is free."""
        super().__init__()
        self._held = False

    def locked(self) -> bool:
        """Return whether it is held. Not a checkpoint."""
        return self._held

    async def acquire(self) -> None:
        """Take it, in a task. A checkpoint only if it must wait."""
        with self._lock:
            if not self._held:
                self._held = True
                return
            waiter = _Waiter(asyncio.get_running_loop())
            self._waiters.append(waiter)
        await _wait(self._lock, self._waiters, waiter, lambda _value: self._pass_on())

    def acquire_sync(self, timeout: float | None = None) -> bool:
        """Take it, in a thread.

        Args:
            timeout: Seconds at most; None waits as long as it takes.

        Returns:
            Whether it was taken in time.
        """
        with self._lock:
            if not self._held:
                self._held = True
                return True
            waiter = _Waiter(None)
            self._waiters.append(waiter)
        return _wait_sync(self._lock, self._waiters, waiter, timeout)

    def release(self) -> None:
        """Give it to whoever has waited longest.

        Raises:
            RuntimeError: Nobody holds it.

        Not a checkpoint.
        """
        with self._lock:
            if not self._held:
                raise RuntimeError("Lock is not acquired.")
            self._pass_on()

    def _pass_on(self) -> None:
        self._held = self._grant_next(self._waiters)

    async def __aenter__(self) -> None:
        """Take it. A checkpoint only if it must wait."""
        await self.acquire()

    async def __aexit__(self, *_exception: object) -> None:
        """Give it back. Not a checkpoint."""
        self.release()

    def __enter__(self) -> None:
        """Take it, in a thread."""
        self.acquire_sync()

    def __exit__(self, *_exception: object) -> None:
        """Give it back."""
        self.release()

    def _size(self) -> int:
        return int(self._held)


class UniversalQueue(_Waiting, Generic[T]):
    """A queue between threads and tasks, in any direction and on any loop."""

    def __init__(self, maxsize: int = 0) -> None:
        """Make an empty queue.

        Args:
            maxsize: How many items it holds; 0 or less: any number.
        """
        super().__init__()
        self.maxsize = maxsize
        self._items: deque[T] = deque()
        self._putters: deque[_Waiter] = deque()

    def qsize(self) -> int:
        """Return how many items there are. Not a checkpoint."""
        return len(self._items)

    def empty(self) -> bool:
        """Return whether there is no item. Not a checkpoint."""
        return not self._items

    def full(self) -> bool:
        """Return whether there is no room for another item. Not a checkpoint."""
        return 0 < self.maxsize <= len(self._items)

    def put_nowait(self, item: T) -> None:
        """Put an item in at once, from either side.

        Args:
            item: Any object.

        Raises:
            QueueFull: There is no room.

        Not a checkpoint.
        """
        with self._lock:
            if not self._put(item):
                raise QueueFull

    def get_nowait(self) -> T:
        """Take an item out at once, from either side.

        Returns:
            The item.

        Raises:
            QueueEmpty: There is none.

        Not a checkpoint.
        """
        with self._lock:
            if not self._items:
                raise QueueEmpty
            return self._take()

    async def put(self, item: T) -> None:
        """Put an item in, from a task, when there is room.

        Args:
            item: Any object.

        A checkpoint only if it must wait.
        """
        while True:
            with self._lock:
                if self._put(item):
                    return
                waiter = _Waiter(asyncio.get_running_loop())
                self._putters.append(waiter)
            await _wait(self._lock, self._putters, waiter, lambda _value: self._offer_room())

    def put_sync(self, item: T, timeout: float | None = None) -> None:
        """Put an item in, from a thread, when there is room.

        Args:
            item: Any object.
            timeout: Seconds at most for each wait; None waits as long as it takes.

        Raises:
            QueueFull: There was no room in time.
        """
        while True:
            with self._lock:
                if self._put(item):
                    return
                waiter = _Waiter(None)
                self._putters.append(waiter)
            if not _wait_sync(self._lock, self._putters, waiter, timeout):
                raise QueueFull

    async def get(self) -> T:
        """Take an item out, in a task, when there is one.

        Returns:
            The item. Who is cancelled at that moment has not taken it: it is the next again.

        A checkpoint only if it must wait.
        """
        with self._lock:
            if self._items:
                return self._take()
            waiter = _Waiter(asyncio.get_running_loop())
            self._waiters.append(waiter)
        item: T = await _wait(self._lock, self._waiters, waiter, self._give_back)
        return item

    def get_sync(self, timeout: float | None = None) -> T:
        """Take an item out, in a thread, when there is one.

        Args:
            timeout: Seconds at most; None waits as long as it takes.

        Returns:
            The item.

        Raises:
            QueueEmpty: There was none in time.
        """
        with self._lock:
            if self._items:
                return self._take()
            waiter = _Waiter(None)
            self._waiters.append(waiter)
        if not _wait_sync(self._lock, self._waiters, waiter, timeout):
            raise QueueEmpty
        item: T = waiter.value
        return item

    def _put(self, item: T) -> bool:
        if self._grant_next(self._waiters, item):
            return True
        if self.full():
            return False
        self._items.append(item)
        return True

    def _take(self) -> T:
        item = self._items.popleft()
        self._offer_room()
        return item

    def _offer_room(self) -> None:
        if not self.full():
            self._grant_next(self._putters)

    def _give_back(self, item: T) -> None:
        if not self._grant_next(self._waiters, item):
            self._items.appendleft(item)

    def statistics(self) -> UniversalStatistics:
        """Return how it stands. Not a checkpoint."""
        with self._lock:
            return UniversalStatistics(len(self._waiters) + len(self._putters), len(self._items))
