"""Running a program: `run` and `Runner`."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple, overload

from ._loop import new_event_loop
from ._way_out import OnExit, WayOut

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GRACE = 30.0
"""Seconds on the way out, if nobody says otherwise: what the usual supervisors of services give a process."""


class Runner(asyncio.Runner):  # type: ignore[misc]  # typeshed calls it final; CPython and its document do not
    """`asyncio.Runner` on a tepal loop, with a way out that always ends.

    Several coroutines in one loop and one context. Ctrl-C cancels the task that runs; the second one raises KeyboardInterrupt.
    On the way out servers stop listening, tasks are cancelled, generators and threads are ended and what is left is closed; who
    has not stopped within the grace is named to the loop's exception handler and left behind.
    """

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
        grace: float = GRACE,
        on_exit: OnExit = "cancel",
    ) -> None:
        """Make a runner; its loop is made when first needed.

        Args:
            debug: Whether the loop runs in debug mode; None leaves it to the interpreter's settings.
            loop_factory: Called without arguments to make the loop.
            grace: Seconds that tasks, generators and threads have on the way out.
            on_exit: With ``"cancel"`` tasks are cancelled on the way out. With ``"wait"`` those that are not daemonic (`daemon`)
                are first waited for, unless the program has failed.

        Raises:
            ValueError: `grace` is negative, or `on_exit` is neither.
        """
        if not grace >= 0:
            raise ValueError(f"grace must be a non-negative number of seconds, not {grace!r}")
        if on_exit not in ("cancel", "wait"):
            raise ValueError(f"on_exit must be 'cancel' or 'wait', not {on_exit!r}")
        super().__init__(debug=debug, loop_factory=loop_factory)
        self._grace = grace
        self._on_exit: OnExit = on_exit

    @overload
    def run(self, main: Awaitable[T], *, context: contextvars.Context | None = None) -> T: ...
    @overload
    def run(
        self,
        main: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> T: ...
    def run(  # type: ignore[misc]  # mypy takes a tuple of any types for narrower than one of certain types
        self, main: Any, *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        """Run a coroutine, or an async function with its arguments, in the runner's loop.

        Args:
            main: The coroutine or the function.
            args: The function's arguments.
            context: The context that it runs in; the runner's own, if none.

        Returns:
            What it returns.

        Raises:
            RuntimeError: A loop is running in this thread, or the runner is closed.
            KeyboardInterrupt: Ctrl-C was pressed; the task was cancelled first.
            BaseException: What it raises.
        """
        try:
            return super().run(_coroutine("Runner.run()", main, args), context=context)
        except BaseException:
            self._on_exit = "cancel"
            raise

    def close(self) -> None:
        """Take the way out, and close the loop. Closing again does nothing.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed meanwhile; the loop is closed all the same.
        """
        loop = self._loop  # type: ignore[has-type]
        if loop is None:
            super().close()
            return
        try:
            WayOut(loop, self._grace, self._on_exit).go()
        finally:
            # Not asyncio's own way: it would wait without end for whom we have given up.
            loop.close()
            self._loop = None
            self._state = asyncio.runners._State.CLOSED  # type: ignore[attr-defined]


@overload
def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
    grace: float = GRACE,
    on_exit: OnExit = "cancel",
) -> T: ...
@overload
def run(
    main: Callable[[*Ts], Coroutine[Any, Any, T]],
    *args: *Ts,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
    grace: float = GRACE,
    on_exit: OnExit = "cancel",
) -> T: ...
def run(  # type: ignore[misc]
    main: Any,
    *args: Any,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
    grace: float = GRACE,
    on_exit: OnExit = "cancel",
) -> Any:
    """Run a coroutine, or an async function with its arguments, on a new tepal loop; leave nothing behind, and end.

    Args:
        main: The coroutine or the function.
        args: The function's arguments.
        debug: Whether the loop runs in debug mode; None leaves it to the interpreter's settings.
        loop_factory: Called without arguments to make the loop.
        grace: Seconds that tasks, generators and threads have on the way out. Who has not stopped by then is named to the loop's
            exception handler, which logs it, and left behind.
        on_exit: With ``"cancel"`` tasks are cancelled on the way out. With ``"wait"`` those that are not daemonic (`daemon`) are
            first waited for, unless the program has failed.

    Returns:
        What the coroutine returns.

    Raises:
        RuntimeError: A loop is running in this thread.
        ValueError: `grace` is negative, or `on_exit` is neither.
        KeyboardInterrupt: Ctrl-C was pressed; the coroutine was cancelled first.
        BaseException: What the coroutine raises.
    """
    if asyncio._get_running_loop() is not None:
        # Said here, because `main` would otherwise never be awaited, and the warning about that hides the reason.
        if asyncio.iscoroutine(main):
            main.close()
        raise RuntimeError("tepal.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory, grace=grace, on_exit=on_exit) as runner:
        return runner.run(main, *args)


def _coroutine(who: str, main: Any, args: tuple[Any, ...]) -> Any:
    """What is to be run: a coroutine, or what an async function returns."""
    if asyncio.iscoroutine(main) or not callable(main):
        if args:
            if asyncio.iscoroutine(main):
                main.close()
            raise TypeError(f"{who} takes arguments for an async function, not for {main!r}")
        return main
    coroutine = main(*args)
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(f"{who} takes an async function, and {main!r} returned {coroutine!r}")
    return coroutine
