"""Processes for tasks: `to_process.run`.

A worker is a process that is kept for further calls, until `run` ends (multiprocessing's "spawn": nothing is inherited, and every
platform has it).
A pipe to it carries a function and its arguments, and back what came of it. A thread of `to_thread.run` does the waiting, which
also keeps large answers off the loop.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, TypeVarTuple

from ._channels import BrokenResourceError
from ._limiter import CapacityLimiter
from ._scopes import shield
from ._threads import run as run_in_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_context = multiprocessing.get_context("spawn")
_idle: list[Worker] = []
"""Workers that wait for a call, of whatever loop."""


class Worker:
    """One process."""

    def __init__(self) -> None:
        self._pipe, theirs = _context.Pipe()
        # Daemonic: multiprocessing ends it with this process.
        self._process: BaseProcess = _context.Process(target=_serve, args=(theirs,), name="tepal-worker", daemon=True)
        self._process.start()
        theirs.close()

    def is_alive(self) -> bool:
        """Whether it can be given another call."""
        return self._process.is_alive()

    def call(self, request: bytes) -> tuple[bool, Any]:
        """Have a call made, and wait for what comes of it (in a thread)."""
        try:
            self._pipe.send_bytes(request)
            well, outcome = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            message = f"the worker process ended while it was at work (exit code {self._process.exitcode})"
            raise BrokenResourceError(message) from error
        return well, outcome

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    """What a worker does."""
    while True:
        try:
            function, arguments = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 (the function cannot be found there: it is the caller's)
            _answer(pipe, False, error)
            continue
        try:
            result = function(*arguments)
        except Exception as error:  # noqa: BLE001 (it is the caller's)
            _answer(pipe, False, error)
        else:
            _answer(pipe, True, result)


def _answer(pipe: Connection, well: bool, outcome: object) -> None:
    try:
        pipe.send((well, outcome))
    except Exception as error:  # noqa: BLE001 (what cannot be pickled is told in words)
        pipe.send((False, TypeError(f"what came of the call cannot be sent back: {outcome!r} ({error})")))


_limiters: dict[asyncio.AbstractEventLoop, CapacityLimiter] = {}


def current_default_process_limiter() -> CapacityLimiter:
    """Return the limiter of `to_process.run` for the running loop: as many calls at a time as there are processors.

    Raises:
        RuntimeError: No loop runs.

    Not a checkpoint.
    """
    loop = asyncio.get_running_loop()
    for closed in [other for other in _limiters if other.is_closed()]:
        del _limiters[closed]
    return _limiters.setdefault(loop, CapacityLimiter(os.cpu_count() or 1))


async def run(
    sync_fn: Callable[[*Ts], T],
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    kill_on_cancel: bool = False,
) -> T:
    """Call a function in another process, and wait for it.

    Args:
        sync_fn: The function; the other process must be able to import it (pickle's rule).
        args: Its arguments, which can be pickled.
        limiter: Allows so many calls at a time; by default one of as many as there are processors
            (`current_default_process_limiter`).
        kill_on_cancel: Whether a task that is cancelled kills the process. Otherwise it waits until the function has returned, and
            is cancelled then.

    Returns:
        What the function returns.

    Raises:
        BrokenResourceError: The process has ended, or was killed.
        BaseException: What the function raises; and what pickle does, if something cannot be pickled.

    A checkpoint.
    """
    request = pickle.dumps((sync_fn, args))
    limiter = limiter or current_default_process_limiter()
    borrower = object()
    await limiter.acquire_on_behalf_of(borrower)
    worker: Worker | None = None
    try:
        worker = await _worker()
        # The limit is the processes', not the threads'.
        well, outcome = await run_in_thread(
            worker.call, request, limiter=CapacityLimiter(1), abandon_on_cancel=kill_on_cancel
        )
    except BaseException:
        if worker is not None:
            with shield():
                await run_in_thread(worker.kill)
        raise
    finally:
        limiter.release_on_behalf_of(borrower)
    _idle.append(worker)
    if well:
        return outcome  # type: ignore[no-any-return]
    raise outcome


def end_idle() -> None:
    """End the workers that wait for a call: a program that ends leaves none behind."""
    while _idle:
        _idle.pop().kill()


async def _worker() -> Worker:
    while _idle:
        worker = _idle.pop()
        if worker.is_alive():
            return worker
    return await run_in_thread(Worker)
