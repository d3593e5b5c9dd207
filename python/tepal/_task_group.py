"""`TaskGroup`: asyncio's, native, with what Python 3.15 added to it on every Python."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from . import _tepal


class TaskGroupStatistics(NamedTuple):
    """How a `TaskGroup` stands."""

    tasks: int
    """Tasks that have not ended."""
    errors: int
    """Errors so far."""
    cancelling: bool
    """Its tasks have been cancelled: one raised, the block was left by an exception, or `cancel` was called."""


class TaskGroup(_tepal.TaskGroup, asyncio.TaskGroup):
    """Tasks that end before a block does (see `asyncio.TaskGroup`).

    ``async with tepal.TaskGroup() as group:`` waits at the end of the block for every task that ``group.create_task(coro)`` made.
    When one raises, the others and the block are cancelled, and the errors arrive together as an ExceptionGroup. The group waits on
    tepal's event loops only: entered on another it raises RuntimeError. Leaving the block is a checkpoint if there are tasks.

    ``group.create_task(coro, *, name=None, context=None)`` returns the task, and raises RuntimeError before the block, after it,
    and once the group is ending; the coroutine is closed then, from Python 3.13 on. It is no checkpoint.

    ``group.cancel()`` ends the group without an error: its tasks and its block are cancelled, and the block is left as if it had
    come to its end. Called before the group is entered, it takes effect then; called again or afterwards, it does nothing. It is no
    checkpoint.
    """

    def __init__(self) -> None:
        """Make a group; ``async with`` enters it."""

    def statistics(self) -> TaskGroupStatistics:
        """Return how it stands. Not a checkpoint."""
        return TaskGroupStatistics(len(self._tasks), len(self._errors), self._aborting)
