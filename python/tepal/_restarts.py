"""Children that a supervisor begins again when they end. Whom, when and how often is the core's decision; this does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from . import _tepal
from ._sync import Event
from ._tepal import open_channel, sleep

if TYPE_CHECKING:
    from ._supervisor import Supervisor

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]

Restart = Literal["permanent", "transient", "temporary"]


@dataclass(frozen=True)
class Backoff:
    """How long a supervisor waits before it begins a child again."""

    first: float = 0.0
    """Seconds before the first restart."""
    factor: float = 2.0
    """How many times as long before each further one within the time that counts."""
    most: float = 30.0
    """Seconds at most."""


class Child:
    """An async function that a supervisor runs, and begins again when it ends."""

    def __init__(
        self, children: Children, number: int, begin: Callable[[], asyncio.Task[Any]], shutdown: float
    ) -> None:
        self._children = children
        self._number = number
        self._begin = begin
        self._shutdown = shutdown
        self._task: asyncio.Task[Any] | None = None
        self.restarts = 0
        """How often it was begun again."""

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task that runs it now; None when it has ended, or waits to be begun again."""
        return self._task

    async def stop(self) -> None:
        """End it for good. It has its time for that; then it is left to the end of the supervisor. A checkpoint."""
        self._children.forget(self)
        await self._end()

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await self._children.supervisor._stop([task], self._shutdown)


class Children:
    """All children of a supervisor."""

    @staticmethod
    def checked(
        strategy: Strategy, max_restarts: int, within: float, backoff: Backoff
    ) -> Callable[[], _tepal.Restarts]:
        """Check the options, and return what makes the book of restarts.

        Raises:
            ValueError: An option is none.
        """
        if strategy not in get_args(Strategy):
            raise ValueError(f"strategy must be one of {', '.join(get_args(Strategy))}, not {strategy!r}")
        if max_restarts < 0:
            raise ValueError(f"max_restarts must not be negative, and is {max_restarts!r}")
        if not within >= 0:
            raise ValueError(f"within must be a non-negative number of seconds, not {within!r}")
        return lambda: _tepal.Restarts(strategy, max_restarts, within, backoff.first, backoff.factor, backoff.most)

    def __init__(self, supervisor: Supervisor, restarts: Callable[[], _tepal.Restarts]) -> None:
        self.supervisor = supervisor
        self._restarts = restarts()
        self._children: list[Child] = []
        self._ends: Any = None
        self._ended = False
        # Ends that are not dealt with.
        self._busy = 0
        self._idle = Event()

    def add(
        self,
        async_fn: Callable[..., Coroutine[Any, Any, object]],
        args: tuple[object, ...],
        restart: Restart,
        shutdown: float,
        name: str | None,
    ) -> Child:
        """Begin a child."""
        number = self._restarts.add(restart)
        if self._ends is None:
            self._ends, received = open_channel(float("inf"))
            keeper = self.supervisor._nursery._create_task(self._keep(received), name="supervisor's restarts")
            self.supervisor._hosts.add(keeper)

        def begin() -> asyncio.Task[Any]:
            return self.supervisor._nursery._create_task(self._run(child, async_fn, args), name=name)

        child = Child(self, number, begin, shutdown)
        self._children.append(child)
        child._task = begin()
        return child

    def settled(self) -> Awaitable[object] | None:
        """What is to be waited for until all ends have been dealt with; None when they have."""
        return self._idle.wait() if self._busy else None

    def forget(self, child: Child) -> None:
        """Restart it no more."""
        self._restarts.remove(child._number)

    def end(self) -> None:
        """Restart nobody any more: the supervisor ends."""
        self._ended = True
        if self._ends is not None:
            self._ends.close()

    async def _run(
        self, child: Child, async_fn: Callable[..., Coroutine[Any, Any, object]], args: tuple[object, ...]
    ) -> None:
        error: Exception | None = None
        try:
            await async_fn(*args)
        except Exception as raised:  # noqa: BLE001 (it is reported)
            error = raised
        # One that was stopped is no news: its task is not the child's any more.
        if child._task is asyncio.current_task() and not self._ended:
            child._task = None
            self._busy += 1
            self._idle.clear()
            self._ends.send_nowait((child, error))

    async def _keep(self, ends: Any) -> None:
        async for child, error in ends:
            await self._answer(child, error)
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def _answer(self, child: Child, error: Exception | None) -> None:
        decided = self._restarts.handle_end(child._number, error is not None, self.supervisor.loop.time())
        if decided is False:
            # It ends with the failure that was one too many.
            ended = RuntimeError("a child of a supervisor ended, and was begun again too often")
            self.supervisor._nursery._fail(error or ended)
            return
        if error is not None:
            self.supervisor._report("a child of a supervisor failed", error)
        if decided is None:
            return
        stop, begin, after = decided
        for number in stop:
            await self._children[number]._end()
        if after > 0:
            await sleep(after)
        for number in begin:
            if not self._ended:
                again = self._children[number]
                again.restarts += 1
                again._task = again._begin()
