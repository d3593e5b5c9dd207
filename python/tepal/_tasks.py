"""How `asyncio.all_tasks()` and tools come to our tasks.

Before Python 3.14 it reads a WeakSet, and to put a task in costs four times what all else of the task does. A loop of ours knows
its pending tasks anyway, so nothing is put in: the set's inner set, which is asyncio's own business, becomes one that shows the
tasks of our loops as well to whoever iterates it. This happens when the first loop is made, not at the import. From 3.14 on
asyncio has lists that cost little, and our tasks stand in them; what tools read in a task's memory is `_published.py`'s.
"""

from __future__ import annotations

import asyncio.tasks
import sys
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._loop import EventLoop

if sys.version_info >= (3, 14):
    from ._published import publish_tasks

    publish_tasks()  # now, and not with the first loop, when there may be no descriptor to spare

_loops: weakref.WeakSet[EventLoop] = weakref.WeakSet()


class _References(set[Any]):
    """The references that a WeakSet keeps, and those to the pending tasks of our loops."""

    def __iter__(self) -> Iterator[Any]:
        yield from list(set.__iter__(self))
        for loop in list(_loops):
            yield from map(weakref.ref, loop._pending_tasks())


def show_tasks_of(loop: EventLoop) -> None:
    """Let `asyncio.all_tasks()` see the tasks of a new loop.

    Args:
        loop: The loop; it is remembered weakly.
    """
    if sys.version_info >= (3, 14):
        return
    _loops.add(loop)
    name = "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks"
    tasks = getattr(asyncio.tasks, name)
    if not isinstance(tasks.data, _References):
        tasks.data = _References(tasks.data)
