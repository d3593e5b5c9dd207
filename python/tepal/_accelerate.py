"""`accelerate`: tepal's primitives in asyncio's place, for programs that import asyncio's and cannot be changed.

Names of asyncio's are replaced here, because the user asked for it by name. All of it is in one table, and all of it can be
taken back: `accelerated` is a context manager, and `install(accelerate=True)` lasts as long as the process.

What was made before keeps its class. What a program imported by name before (``from asyncio import Queue``) it keeps, too, so
accelerate first and import afterwards; `tepal run --accelerate` does so.
"""

from __future__ import annotations

import asyncio
import asyncio.locks
import asyncio.queues
import asyncio.streams
import asyncio.taskgroups
import asyncio.tasks
import asyncio.timeouts
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from . import _streams, _sync, _waiting
from ._task_group import TaskGroup
from ._tepal import Timeout, timeout_at

_REPLACED: dict[ModuleType, dict[str, object]] = {
    asyncio.locks: {
        name: getattr(_sync, name)
        for name in ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore")
    },
    asyncio.queues: {name: getattr(_sync, name) for name in ("LifoQueue", "PriorityQueue", "Queue", "QueueShutDown")},
    asyncio.streams: {
        name: getattr(_streams, name) for name in ("StreamReader", "StreamReaderProtocol", "StreamWriter")
    },
    asyncio.taskgroups: {"TaskGroup": TaskGroup},
    asyncio.tasks: {
        name: getattr(_waiting, name) for name in ("as_completed", "gather", "shield", "sleep", "wait", "wait_for")
    },
    asyncio.timeouts: {"Timeout": Timeout, "timeout": _waiting.timeout, "timeout_at": timeout_at},
}
"""What stands where in asyncio; the package itself has all of these names as well."""

_MISSING = object()


def accelerate() -> list[tuple[ModuleType, str, object]]:
    """Put tepal's primitives into asyncio's namespaces.

    Returns:
        What was there before, to be given to `restore`.

    Not a checkpoint.
    """
    before: list[tuple[ModuleType, str, object]] = []
    for module, names in _REPLACED.items():
        for name, ours in names.items():
            for place in (module, asyncio):
                before.append((place, name, getattr(place, name, _MISSING)))
                setattr(place, name, ours)
    return before


def restore(before: list[tuple[ModuleType, str, object]]) -> None:
    """Take back what `accelerate` did.

    Args:
        before: What it returned.

    Not a checkpoint.
    """
    for place, name, was in reversed(before):
        if was is _MISSING:
            delattr(place, name)
        else:
            setattr(place, name, was)


@contextmanager
def accelerated() -> Iterator[None]:
    """Put tepal's primitives into asyncio's namespaces for the length of a block: ``with tepal.accelerated():``.

    `asyncio.Queue`, `Lock`, `Event`, `Semaphore`, `Condition`, `Barrier`, `TaskGroup`, `gather`, `sleep`, `timeout`, `wait_for`,
    the streams and their like are then tepal's, whose classes derive from asyncio's (but for `Timeout`): `isinstance` and
    subclasses go on working. They wait on tepal's event loops only. For a whole process there are ``tepal run --accelerate`` and
    ``tepal.install(accelerate=True)``.

    Not a checkpoint.
    """
    before = accelerate()
    try:
        yield
    finally:
        restore(before)
