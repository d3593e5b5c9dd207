"""Threads for what blocks: an executor that cannot hold up the end of the process.

The threads of `concurrent.futures.ThreadPoolExecutor` are joined when the interpreter ends, whatever they do: one call that never
returns, and the program never ends. These are joined, too, unless somebody who waited for them has given them up (`abandon`); so
they must be daemonic from the start, and the joining is ours.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Work = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]

_queues: weakref.WeakKeyDictionary[threading.Thread, queue.SimpleQueue[Work | None]] = weakref.WeakKeyDictionary()
"""The threads that are joined at the end of the process, and where to tell them that it is near."""

_ended = False


class WorkerPool(ThreadPoolExecutor):
    """Calls functions in threads, which are made when they are needed, up to a number.

    A `ThreadPoolExecutor` to everyone who looks; nothing of that class's own runs.
    """

    def __init__(self, most: int | None = None, name: str = "asyncio") -> None:
        """Make a pool without threads.

        Args:
            most: How many threads there are at most; as `ThreadPoolExecutor`, if not given.
            name: What the threads' names begin with.
        """
        self._max_workers = most or min(32, (os.cpu_count() or 1) + 4)
        self._name = name
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []  # type: ignore[assignment]
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called in a thread.

        Returns:
            Its outcome, when there is one.

        Raises:
            RuntimeError: The pool was shut down, or the process ends.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if _ended:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            future: Future[T] = Future()
            self._queue.put((future, fn, args, kwargs))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._max_workers:
                self._add_thread()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new work, and end the threads when what was submitted is done.

        Args:
            wait: Return when they have ended.
            cancel_futures: What no thread has begun is cancelled.
        """
        with self._lock:
            self._closed = True
            if cancel_futures:
                self._cancel_pending()
            self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def abandon(self) -> list[str]:
        """Wait for these threads no more, not even at the end of the process.

        Returns:
            The names of those that still run.
        """
        for thread in self._threads:
            _queues.pop(thread, None)
        return [thread.name for thread in self._threads if thread.is_alive()]

    def give_up(self, thread: threading.Thread) -> None:
        """Do not wait for one of the threads at the end of the process."""
        _queues.pop(thread, None)

    def take_back(self, thread: threading.Thread) -> None:
        """Wait for it after all: it has come back for more."""
        _queues[thread] = self._queue

    def _add_thread(self) -> None:
        name = f"{self._name}_{len(self._threads)}"
        # Not bound to the pool: one that nobody keeps can go, and then tells its threads.
        thread = threading.Thread(target=_work, args=(self._queue, self._idle), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
        _queues[thread] = self._queue

    def _cancel_pending(self) -> None:
        while True:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return
            if work is not None:
                work[0].cancel()

    def __del__(self) -> None:
        """Tell the threads that nobody will come any more."""
        self._queue.put(None)


def _work(work_queue: queue.SimpleQueue[Work | None], idle: threading.Semaphore) -> None:
    while True:
        work = work_queue.get()
        if work is None:
            work_queue.put(None)  # the next one is to hear of it, too
            return
        future, function, args, kwargs = work
        del work
        if future.set_running_or_notify_cancel():
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 (it goes to whoever waits for the future)
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
        # Nothing of it is kept while the thread waits for more.
        del future, function, args, kwargs
        idle.release()


def _join() -> None:
    """Wait for all threads, as the interpreter does for those of a `ThreadPoolExecutor`."""
    global _ended
    _ended = True
    threads = list(_queues.items())
    for _, work_queue in threads:
        work_queue.put(None)
    for thread, _ in threads:
        thread.join()


atexit.register(_join)
