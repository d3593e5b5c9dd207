"""Threads for what blocks by nature: the default executor of a loop and its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

from ._protocols import LoopSurface
from ._workers import WorkerPool

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class ExecutorMethods(LoopSurface):
    """``run_in_executor`` and what belongs to it."""

    __slots__ = ()

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*_Ts], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Call a function in a thread (or wherever the executor runs things).

        Args:
            executor: Where to run it; None means the loop's default executor, which is made when first needed.
            func: The function.
            *args: Its arguments.

        Returns:
            A future of this loop. Cancelling it does not stop a call that has begun.

        Raises:
            RuntimeError: The loop is closed, or its default executor has been shut down.
            TypeError: In debug mode, when `func` is not a plain callable.

        Not a checkpoint: only awaiting the future is.
        """
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        if executor is None:
            if self._executor_shutdown_called:
                raise RuntimeError("Executor shutdown has been called")
            executor = self._default_executor
            if executor is None:
                executor = WorkerPool()
                self._default_executor = executor
        return asyncio.wrap_future(executor.submit(func, *args), loop=self)

    def set_default_executor(self, executor: concurrent.futures.Executor) -> None:
        """Set the executor that ``run_in_executor(None, ...)`` uses.

        Args:
            executor: A `concurrent.futures.ThreadPoolExecutor`.

        Raises:
            TypeError: It is another kind of executor.

        Not a checkpoint.
        """
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Refuse new work for the default executor, and wait until its threads have ended.

        Args:
            timeout: How many seconds to wait at most; None waits as long as it takes. When they are over, the
                threads are left alone and a RuntimeWarning says so.

        A checkpoint if the loop has a default executor.
        """
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is not None and not await end_threads(self, executor, timeout):
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            executor.shutdown(wait=False)


async def end_threads(
    loop: asyncio.AbstractEventLoop, executor: concurrent.futures.Executor, timeout: float | None
) -> bool:
    """Have an executor refuse new work, and wait until its threads have ended.

    Args:
        loop: The running loop.
        executor: The executor.
        timeout: How many seconds to wait at most; None waits as long as it takes.

    Returns:
        Whether they have ended in time.
    """
    ended: asyncio.Future[None] = loop.create_future()
    # (Daemonic: it must not hold up the end of the process when the threads do not end.)
    joiner = threading.Thread(target=_join_threads, args=(loop, executor, ended), daemon=True)
    joiner.start()
    try:
        if timeout is None:
            # asyncio.timeout() wants a task around it; without a limit nothing else does.
            await ended
        else:
            async with asyncio.timeout(timeout):
                await ended
    except TimeoutError:
        return False
    joiner.join()
    return True


def _join_threads(
    loop: asyncio.AbstractEventLoop, executor: concurrent.futures.Executor, ended: asyncio.Future[None]
) -> None:
    """Wait for the threads of an executor (in a thread of its own) and tell the loop."""
    try:
        executor.shutdown(wait=True)
    except Exception as error:  # noqa: BLE001  # it goes to whoever waits for the shutdown
        _tell(loop, ended, error)
    else:
        _tell(loop, ended, None)


def _tell(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None], error: Exception | None) -> None:
    try:
        loop.call_soon_threadsafe(_settle, ended, error)
    except RuntimeError:
        # The loop was closed before the threads ended: nobody is waiting any more. Asking is_closed() first
        # would not do, because the loop may close between the question and the call.
        if not loop.is_closed():
            raise


def _settle(ended: asyncio.Future[Any], error: Exception | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)
