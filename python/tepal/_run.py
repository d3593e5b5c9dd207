"""Running a program: `run` and `Runner`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ._loop import new_event_loop

_T = TypeVar("_T")


class Runner(asyncio.Runner):  # type: ignore[misc]  # typeshed calls it final; CPython and its document do not
    """`asyncio.Runner` on a tepal loop: several coroutines in one loop and one context.

    Ctrl-C cancels the task that runs; what is left at the end is cancelled, and asynchronous generators and the
    default executor are shut down.
    """

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
    ) -> None:
        """Make a runner; its loop is made when first needed.

        Args:
            debug: Whether the loop runs in debug mode; None leaves it to the interpreter's settings.
            loop_factory: Called without arguments to make the loop.
        """
        super().__init__(debug=debug, loop_factory=loop_factory)


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run a coroutine on a new tepal loop, and leave nothing behind.

    Args:
        main: The coroutine.
        debug: Whether the loop runs in debug mode; None leaves it to the interpreter's settings.

    Returns:
        What the coroutine returns.

    Raises:
        RuntimeError: A loop is running in this thread.
        KeyboardInterrupt: Ctrl-C was pressed; the coroutine was cancelled first.
        BaseException: What the coroutine raises.
    """
    if asyncio._get_running_loop() is not None:
        # Said here, because `main` would otherwise never be awaited, and the warning about that hides the reason.
        if asyncio.iscoroutine(main):
            main.close()
        raise RuntimeError("tepal.run() cannot be called from a running event loop")
    with Runner(debug=debug) as runner:
        return runner.run(main)
