"""`Nursery`: tasks that end before a block does, after Trio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from . import _tepal

StatusT = TypeVar("StatusT")

_UNSET: Any = object()


class NurseryStatistics(NamedTuple):
    """How a `Nursery` stands."""

    tasks: int
    """Children that have not ended, with those that wait for room under the limit."""
    errors: int
    """Errors so far."""
    cancelling: bool
    """Its scope was cancelled."""


class TaskStatus(Generic[StatusT]):
    """By which a task that `Nursery.start` started says that it is ready: its argument ``task_status``."""

    def __init__(self, temporary: _tepal.Nursery, nursery: _tepal.Nursery) -> None:
        self._temporary = temporary
        self._nursery = nursery
        self._value: Any = _UNSET

    def __repr__(self) -> str:
        """Say whether it was told."""
        told = "waiting" if self._value is _UNSET else f"started with {self._value!r}"
        return f"<tepal.TaskStatus {told}>"

    def started(self, value: StatusT | None = None) -> None:
        """Say that the task is ready: `Nursery.start` returns, and the task goes on in the nursery.

        Args:
            value: What `Nursery.start` returns.

        Raises:
            RuntimeError: It was called before.

        Not a checkpoint.
        """
        if self._value is not _UNSET:
            message = "called 'started' twice on the same task status"
            raise RuntimeError(message)
        self._value = value
        # Who starts it is cancelled: then the task stays where it is, and ends with that.
        if not self._temporary._is_effectively_cancelled():
            self._temporary._hand_over(self._nursery)


class Nursery(_tepal.Nursery):
    """Tasks that end before a block does.

    ``async with tepal.open_nursery() as nursery:`` waits at the end of the block for every task that was started in it. When
    the block or a task raises, the others are cancelled, level-triggered, by `cancel_scope`. The errors arrive together as an
    ExceptionGroup, also when there is only one; KeyboardInterrupt and SystemExit arrive alone. The semantics are Trio's;
    `TaskGroup` is asyncio's. Leaving the block is a checkpoint if there are tasks.

    ``nursery.start_soon(async_fn, *args, name=None, context=None)`` returns the task.
    """

    async def start(
        self,
        async_fn: Callable[..., Coroutine[Any, Any, object]],
        *args: object,
        name: str | None = None,
    ) -> Any:
        """Run an async function in a task of the nursery, and wait until it says that it is ready.

        Until then the task belongs to the caller: it is cancelled with it, and what it raises arrives here.

        Args:
            async_fn: The function; it is called with ``task_status``, and says ``task_status.started(value)``.
            args: Its other arguments.
            name: The task's name.

        Returns:
            The value that `TaskStatus.started` was given.

        Raises:
            RuntimeError: The nursery is not open, or the task ended without having said anything.

        A checkpoint.
        """
        self._expect()
        try:
            try:
                async with Nursery() as temporary:
                    status: TaskStatus[Any] = TaskStatus(temporary, self)
                    begin: Callable[..., Coroutine[Any, Any, object]] = partial(async_fn, task_status=status)
                    temporary.start_soon(begin, *args, name=name)
            except BaseExceptionGroup as group:
                # Of one task: what it raised before it was ready.
                if len(group.exceptions) == 1:
                    raise group.exceptions[0] from None
                raise
        finally:
            self._expect_no_more()
        if status._value is _UNSET:
            message = "child exited without calling task_status.started()"
            raise RuntimeError(message)
        return status._value

    def statistics(self) -> NurseryStatistics:
        """Return how it stands. Not a checkpoint."""
        return NurseryStatistics(len(self.child_tasks), len(self._errors()), self.cancel_scope.cancel_called)

    def __repr__(self) -> str:
        """Show how it stands."""
        tasks, errors, cancelling = self.statistics()
        return f"<tepal.Nursery tasks={tasks} errors={errors}{' cancelling' if cancelling else ''}>"


def open_nursery(*, limit: int | None = None) -> Nursery:
    """Open a nursery: ``async with tepal.open_nursery() as nursery:``.

    Args:
        limit: How many of its tasks run at a time; `Nursery.start_soon` holds the others back. None: any number.

    Raises:
        ValueError: The limit is less than 1.

    Not a checkpoint.
    """
    return Nursery(limit=limit)
