"""What cancel scopes throw, and `shield()`, which is two things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Literal, TypeVar, overload

from . import _tepal
from ._waiting import shield as _shield_awaitable

T = TypeVar("T")

Source = Literal["explicit", "deadline", "nursery"]


class Cancelled(asyncio.CancelledError):
    """Thrown into a task because a cancel scope that it is in was cancelled.

    It is an `asyncio.CancelledError`, so asyncio code cleans up as it would; let it pass. It ends at the outermost scope that is
    cancelled. It cannot be made by hand: cancel a scope. What it carries is plain data and keeps nothing alive.
    """

    source: Source
    """Who cancelled the scope: `"explicit"` by `cancel()`, its `"deadline"`, or its `"nursery"` because a child failed."""
    reason: str | None
    """What `cancel()` was told."""
    source_task: str | None
    """The name of the task that called `cancel()`."""

    def __init__(self, *_arguments: object) -> None:
        """Raise TypeError: a scope makes it."""
        message = "tepal.Cancelled is thrown by cancel scopes and cannot be made by hand: call scope.cancel()"
        raise TypeError(message)

    @classmethod
    def _make(cls, source: Source, reason: str | None, source_task: str | None) -> Cancelled:
        self = cls.__new__(cls)
        self.source, self.reason, self.source_task = source, reason, source_task
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Cancelled._make, (self.source, self.reason, self.source_task)

    def __str__(self) -> str:
        by = f" by {self.source_task}" if self.source_task else ""
        why = f": {self.reason}" if self.reason else ""
        return f"cancelled: {self.source}{by}{why}"

    def __repr__(self) -> str:
        return f"tepal.Cancelled(source={self.source!r}, reason={self.reason!r}, source_task={self.source_task!r})"


@overload
def shield() -> _tepal.CancelScope: ...
@overload
def shield(arg: Awaitable[T]) -> asyncio.Future[T]: ...
def shield(arg: Awaitable[T] | None = None) -> _tepal.CancelScope | asyncio.Future[T]:
    """Protect a block, or an awaitable, from cancellation.

    ``with tepal.shield():`` (or ``async with``) makes a block that no cancel scope around it breaks off, for clean-up in
    ``finally``. It is a `CancelScope` with ``shield=True``, so ``with tepal.shield() as scope: scope.relative_deadline = 5`` bounds
    it. An ordinary ``task.cancel()`` is not held off: it means this task, wherever it stands.

    ``await tepal.shield(aw)`` is asyncio's: the awaitable runs on when the caller is cancelled, of either kind.

    Args:
        arg: A coroutine, task or future; none for a block.

    Returns:
        The scope; or a future for the awaitable's outcome.

    Raises:
        RuntimeError: No loop of tepal's runs.

    Not a checkpoint.
    """
    if arg is None:
        return _tepal.CancelScope(shield=True)
    return _shield_awaitable(arg)
