"""asyncio's synchronisation primitives and queues, native.

Each class derives from its native half first (`_tepal`), which does the work, and from asyncio's class of the same name, so that
`isinstance` holds and what is not hot is inherited. The rules are asyncio's, those of Python 3.13 on every Python: first come,
first served; a cancelled waiter loses no wake-up and no item; what need not wait does not suspend.

All of them wait on tepal's event loops only, for tasks of any kind: on another loop a call that must wait raises RuntimeError.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import sys
from asyncio.queues import QueueEmpty as QueueEmpty
from asyncio.queues import QueueFull as QueueFull
from typing import Any, Literal, NamedTuple, Self, TypeVar

from . import _tepal

_T = TypeVar("_T")

if sys.version_info >= (3, 13):
    from asyncio import QueueShutDown as QueueShutDown
else:

    class QueueShutDown(Exception):
        """Raised by put and get of a queue that was shut down (`asyncio.QueueShutDown` from Python 3.13 on)."""


# --- what `statistics()` tells --------------------------------------------------------------------------------------------
# (Named tuples and not dataclasses, which would cost every `import tepal` nearly three milliseconds more.)


class EventStatistics(NamedTuple):
    """How an `Event` stands."""

    is_set: bool
    waiters: int
    """Tasks that wait for it."""


class LockStatistics(NamedTuple):
    """How a `Lock` stands."""

    locked: bool
    waiters: int
    """Tasks that wait for it."""


class SemaphoreStatistics(NamedTuple):
    """How a `Semaphore` stands."""

    value: int
    """How often it can still be acquired."""
    waiters: int
    """Tasks that wait for it."""


class ConditionStatistics(NamedTuple):
    """How a `Condition` stands."""

    waiters: int
    """Tasks that wait to be notified."""
    locked: bool
    """Whether its lock is taken."""


class BarrierStatistics(NamedTuple):
    """How a `Barrier` stands."""

    parties: int
    """How many tasks it waits for."""
    waiters: int
    """How many have come."""
    broken: bool


class QueueStatistics(NamedTuple):
    """How a `Queue` stands."""

    size: int
    """Items in it."""
    maxsize: int
    """The most it may hold; 0 or less: any number."""
    peak: int
    """The most it ever held."""
    getters: int
    """Tasks that wait for an item."""
    putters: int
    """Tasks that wait for room."""
    unfinished: int
    """Items that were put and for which `task_done` was not called."""
    joiners: int
    """Tasks that wait in `join`."""


# --- the primitives -------------------------------------------------------------------------------------------------------


def _shown(primitive: object, facts: str, waiters: int) -> str:
    if waiters:
        facts += f", waiters:{waiters}"
    return f"<{object.__repr__(primitive)[1:-1]} [{facts}]>"


class Event(_tepal.Event, asyncio.Event):
    """A flag that tasks can wait for (see `asyncio.Event`).

    `set` wakes all who wait. `wait` returns at once, without letting others run, when the flag is set; else it is a checkpoint.
    """

    def __init__(self) -> None:
        """Make an event that is not set."""

    def __repr__(self) -> str:
        """Show whether it is set and how many wait."""
        return _shown(self, "set" if self.is_set() else "unset", len(self._waiters))

    def statistics(self) -> EventStatistics:
        """Return how it stands. Not a checkpoint."""
        return EventStatistics(self.is_set(), len(self._waiters))


class _Acquired:
    """The way into a block of a lock or semaphore whose class has an `acquire` of its own."""

    async def _enter_by_acquire(self) -> None:
        await self.acquire()  # type: ignore[attr-defined]


class Lock(_Acquired, _tepal.Lock, asyncio.Lock):
    """A mutual exclusion lock (see `asyncio.Lock`).

    Fair: tasks get it in the order in which they asked. `acquire` returns at once, without letting others run, when the lock
    is free and nobody waits; else it is a checkpoint. `release` raises RuntimeError when it is not locked.
    """

    def __init__(self) -> None:
        """Make a lock that is free."""

    def __repr__(self) -> str:
        """Show whether it is locked and how many wait."""
        return _shown(self, "locked" if self.locked() else "unlocked", len(self._waiters))

    def statistics(self) -> LockStatistics:
        """Return how it stands. Not a checkpoint."""
        return LockStatistics(self.locked(), len(self._waiters))


class Semaphore(_Acquired, _tepal.Semaphore, asyncio.Semaphore):
    """A counter that cannot go below zero (see `asyncio.Semaphore`).

    Fair: tasks get it in the order in which they asked. `acquire` returns at once, without letting others run, when the counter is
    not zero and nobody waits; else it is a checkpoint.
    """

    def __init__(self, value: int = 1) -> None:
        """Make a semaphore.

        Args:
            value: How often it can be acquired.

        Raises:
            ValueError: It is negative.
        """
        self._begin(value, False)

    def __repr__(self) -> str:
        """Show the counter and how many wait."""
        facts = "locked" if self.locked() else f"unlocked, value:{self._value}"
        return _shown(self, facts, len(self._waiters))

    def statistics(self) -> SemaphoreStatistics:
        """Return how it stands. Not a checkpoint."""
        return SemaphoreStatistics(self._value, len(self._waiters))


class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore):
    """A semaphore that cannot be released more often than it was acquired: `release` then raises ValueError."""

    def __init__(self, value: int = 1) -> None:
        """Make a semaphore that never exceeds its first value.

        Args:
            value: How often it can be acquired.

        Raises:
            ValueError: It is negative.
        """
        self._begin(value, True)


class Condition(asyncio.Condition):
    """A lock on which tasks wait to be notified (see `asyncio.Condition`).

    First come, first notified. Who is notified and then cancelled passes the notification on, as asyncio's has done since
    Python 3.13. `wait` and `wait_for` are checkpoints, and hold the lock again when they end, in whatever way.
    """

    def __init__(self, lock: asyncio.Lock | None = None) -> None:
        """Make a condition.

        Args:
            lock: The lock it is about; one of its own if not given.
        """
        super().__init__(Lock() if lock is None else lock)

    async def wait(self) -> Literal[True]:
        """Let go of the lock, wait to be notified, and take the lock again.

        Returns:
            True.

        Raises:
            RuntimeError: The lock is not held.

        A checkpoint.
        """
        if not self.locked():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiter = self._get_loop().create_future()  # type: ignore[attr-defined] # the loop that all waits are on
        self.release()
        try:
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)
                await self._take_back()
        except BaseException:
            # It may have been told what another has to know now.
            self._pass_on(1)
            raise
        return True

    async def _take_back(self) -> None:
        """Take the lock in spite of cancellations; the last of them goes on afterwards."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self.acquire()
                break
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                cancelled = None  # no cycle through this frame

    def notify(self, n: int = 1) -> None:
        """Wake those who have waited longest; they go on when they get the lock.

        Args:
            n: How many.

        Raises:
            RuntimeError: The lock is not held.

        Not a checkpoint.
        """
        if not self.locked():
            raise RuntimeError("cannot notify on un-acquired lock")
        self._pass_on(n)

    def _pass_on(self, count: int) -> None:
        pending = (waiter for waiter in self._waiters if not waiter.done())
        for waiter in itertools.islice(pending, count):
            waiter.set_result(False)

    def statistics(self) -> ConditionStatistics:
        """Return how it stands. Not a checkpoint."""
        return ConditionStatistics(len(self._waiters), self.locked())


class Barrier(asyncio.Barrier):
    """A point at which a number of tasks wait for each other (see `asyncio.Barrier`)."""

    def __init__(self, parties: int) -> None:
        """Make a barrier.

        Args:
            parties: How many tasks it waits for.

        Raises:
            ValueError: It is less than one.
        """
        super().__init__(parties)
        self._cond = Condition()

    def statistics(self) -> BarrierStatistics:
        """Return how it stands. Not a checkpoint."""
        return BarrierStatistics(self.parties, self.n_waiting, self.broken)


# --- queues ---------------------------------------------------------------------------------------------------------------

_HOOKS = ("_init", "_get", "_put", "qsize", "empty", "full")
"""What a subclass may have its own of, to keep the items in its own way."""


class Queue(_tepal.Queue, asyncio.Queue[_T]):
    """A queue of items between tasks, first in, first out (see `asyncio.Queue`).

    `get` returns at once, without letting others run, when there is an item, `put` when there is room; else they are checkpoints.
    Who is cancelled while waiting takes nothing with him. `shutdown` is there on every Python.
    """

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Self:
        """Arguments are `__init__`'s: a subclass may have other ones."""
        return super().__new__(cls, *_kind(cls))

    def __init__(self, maxsize: int = 0) -> None:
        """Make a queue.

        Args:
            maxsize: The most items it may hold; 0 or less: any number.
        """
        self._maxsize = maxsize
        if _kind(type(self))[0] == "theirs":
            self._init(maxsize)

    def _format(self) -> str:
        items = self._items()
        facts = [f"maxsize={self.maxsize!r}"]
        if items is None:
            items = list(self._queue) if getattr(self, "_queue", None) else []
        if items:
            facts.append(f"_queue={items!r}")
        if self._getters:
            facts.append(f"_getters[{len(self._getters)}]")
        if self._putters:
            facts.append(f"_putters[{len(self._putters)}]")
        if self._unfinished_tasks:
            facts.append(f"tasks={self._unfinished_tasks}")
        if self._is_shutdown:
            facts.append("shutdown")
        return " ".join(facts)

    def statistics(self) -> QueueStatistics:
        """Return how it stands. Not a checkpoint."""
        return QueueStatistics(
            self.qsize(),
            self.maxsize,
            self._peak,
            len(self._getters),
            len(self._putters),
            self._unfinished_tasks,
            self._joiners,
        )


class LifoQueue(Queue[_T], asyncio.LifoQueue[_T]):
    """A queue that gives the item first that was put last (see `asyncio.LifoQueue`)."""


class PriorityQueue(Queue[_T], asyncio.PriorityQueue[_T]):  # type: ignore[type-var]
    """A queue that gives the smallest item first (see `asyncio.PriorityQueue`)."""

    def _init(self, maxsize: int) -> None:
        self._queue: Any = []

    def _put(self, item: _T) -> None:
        heapq.heappush(self._queue, item)

    def _get(self) -> _T:
        item: _T = heapq.heappop(self._queue)
        return item


_kinds: dict[type[Any], tuple[str, bool]] = {}


def _kind(cls: type[Any]) -> tuple[str, bool]:
    """Where the items of a class's instances are kept, and whether it has a `put_nowait` or `get_nowait` of its own.

    See `crates/tepal-python/src/sync/queue.rs`.
    """
    kind = _kinds.get(cls)
    if kind is None:
        base = LifoQueue if issubclass(cls, LifoQueue) else Queue
        own = any(getattr(cls, name) is not getattr(base, name) for name in _HOOKS)
        calls = any(getattr(cls, name) is not getattr(Queue, name) for name in ("put_nowait", "get_nowait"))
        kind = "theirs" if own else "last" if base is LifoQueue else "first", calls
        if cls.__module__ == __name__ or cls.__module__ == "tepal":
            _kinds[cls] = kind
    return kind
