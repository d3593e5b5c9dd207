"""The way out of a program: it leaves nothing behind, and it always ends.

Step by step, the first three with the grace that was given for all of them together:

1. Servers stop listening. With ``on_exit="wait"`` the tasks that are not daemonic are waited for, without limit: that is asked for.
2. All tasks are cancelled, once, and waited for. Then asynchronous generators are closed.
3. The default executor takes no more work, and its threads are waited for.
4. What is still open is closed hard: transports are aborted, processes killed, those of `to_process` with them.

Who has not stopped is named to the loop's exception handler, which logs it, and left behind: tasks are not run any more, threads no
longer hold up the end of the process. Ctrl-C during this leaves no grace to the steps that are left.
"""

from __future__ import annotations

import asyncio
import linecache
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeVar

from ._executor import end_threads
from ._threads import abandon_threads
from ._workers import WorkerPool

OnExit = Literal["cancel", "wait"]

TaskT = TypeVar("TaskT", bound="asyncio.Task[Any]")

_daemonic: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

_SETTLE = 10
"""How many turns the callbacks of what was aborted have."""

_LEAST = 0.05
"""Seconds that each step has when no grace is left: enough for what ends by itself."""


def daemon(task: TaskT) -> TaskT:
    """Make a task daemonic: `run` does not wait for it with ``on_exit="wait"``, but cancels it when all others have ended.

    Args:
        task: A task.

    Returns:
        The task.

    Raises:
        TypeError: It is none.

    Not a checkpoint.
    """
    if not isinstance(task, asyncio.Task):
        message = f"a task was expected, got {task!r}"
        raise TypeError(message)
    _daemonic.add(task)
    return task


class WayOut:
    """One loop's way out."""

    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float, on_exit: OnExit) -> None:
        """Prepare it.

        Args:
            loop: The loop, which does not run.
            grace: Seconds for what does not end by itself.
            on_exit: Whether tasks are cancelled at once, or waited for first.
        """
        self._loop = loop
        self._grace = grace
        self._on_exit = on_exit
        self._end = 0.0
        self._interrupt: KeyboardInterrupt | SystemExit | None = None
        # Those of this way's own tasks that were broken off: they do nothing more.
        self._broken_off: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()

    def go(self) -> None:
        """Take it.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed meanwhile; the way was taken to its end all the same.
            SystemExit: So with a task that raised it.
        """
        for server in list(getattr(self._loop, "_servers", ())):
            server.close()
        if self._on_exit == "wait":
            self._try(self._wait_for_all)
        self._end = time.monotonic() + self._grace
        self._try(self._cancel_all)
        self._try(self._close_generators)
        self._try(self._end_threads)
        self._try(self._close_hard)
        self._abandon_tasks()
        for name in abandon_threads(self._loop):
            self._report(f"thread {name} of to_thread.run() did not end {self._within}")
        # (Not imported for this: multiprocessing takes its time.)
        if (workers := sys.modules.get("tepal._worker_processes")) is not None:
            workers.end_idle()
        if self._interrupt is not None:
            raise self._interrupt

    def _try(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(step())
        try:
            self._loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit) as interrupt:
            # From Ctrl-C, or from a task that is being ended.
            self._interrupt = self._interrupt or interrupt
            if isinstance(interrupt, KeyboardInterrupt):
                self._grace = 0.0
                self._end = time.monotonic()
            if not task.done():
                self._broken_off.add(task)
                task.cancel()
                self._try(step)

    def _left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def _tasks(self) -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)} - self._broken_off

    async def _wait_for_all(self) -> None:
        while tasks := self._tasks() - set(_daemonic):
            await asyncio.wait(tasks)

    async def _cancel_all(self) -> None:
        # Once each, also when this begins anew: who is cancelled again is broken off in its clean-up.
        while tasks := self._tasks():
            for task in tasks - self._cancelled:
                task.cancel()
            self._cancelled |= tasks
            _, pending = await asyncio.wait(tasks, timeout=max(self._left(), _LEAST))
            if pending:
                break
        for task in self._cancelled:
            if not task.done() or task.cancelled():
                continue
            error = task.exception()
            # (What ends the program has come to us as it is.)
            if error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
                message = "unhandled exception during tepal.run() shutdown"
                self._loop.call_exception_handler({"message": message, "exception": error, "task": task})

    async def _close_generators(self) -> None:
        await self._bounded(self._loop.shutdown_asyncgens(), "asynchronous generators were not closed")

    async def _end_threads(self) -> None:
        executor = getattr(self._loop, "_default_executor", None)
        if not isinstance(executor, WorkerPool):
            await self._bounded(self._loop.shutdown_default_executor(), "the default executor was not shut down")
        elif not await end_threads(self._loop, executor, max(self._left(), _LEAST)):
            executor.shutdown(wait=False, cancel_futures=True)
            for name in executor.abandon():
                self._report(f"thread {name} of the default executor did not end {self._within}")

    async def _bounded(self, step: Awaitable[object], what: str) -> None:
        try:
            await asyncio.wait_for(step, max(self._left(), _LEAST))
        except TimeoutError:
            self._report(f"{what} {self._within}")

    async def _close_hard(self) -> None:
        transports: list[Any] = getattr(self._loop, "_open_transports", list)()
        for child in list(getattr(self._loop, "_children", ())):
            child.close()
        for transport in transports:
            getattr(transport, "abort", transport.close)()
        for _ in range(_SETTLE):
            await asyncio.sleep(0)

    @property
    def _within(self) -> str:
        return f"within {self._grace:g} seconds" if self._interrupt is None else "before Ctrl-C"

    def _abandon_tasks(self) -> None:
        for task in asyncio.all_tasks(self._loop) - self._broken_off:
            self._report(f"task {task.get_name()} was cancelled and did not stop {self._within}: {_where(task)}", task)
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def _report(self, message: str, task: asyncio.Task[Any] | None = None) -> None:
        context: dict[str, Any] = {"message": message}
        if task is not None:
            context["task"] = task
        self._loop.call_exception_handler(context)


def _where(task: asyncio.Task[Any]) -> str:
    """Where a task stands, as a sentence."""
    stack = task.get_stack(limit=1)
    if not stack:
        return "it waits outside of Python"
    frame = stack[0]
    file, line = frame.f_code.co_filename, frame.f_lineno
    return f"it stands in {frame.f_code.co_qualname}, {file}:{line}: {linecache.getline(file, line).strip()}"
