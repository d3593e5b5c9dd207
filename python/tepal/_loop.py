"""`EventLoop`: the native loop and everything of asyncio's that is not hot, in one class.

The native class (`_tepal.Loop`) stands first and answers for all that it defines: scheduling, descriptors, the run
itself. The mixins add the families of methods that need a coroutine or a thread. `asyncio.BaseEventLoop` stands last:
its `__init__` never runs, what it would put into the instance is native or a slot, and what it does right is inherited
(`run_until_complete`, the exception handlers, the checks of debug mode).
"""

from __future__ import annotations

import asyncio
import os
import sys
import weakref
from asyncio import coroutines, events
from asyncio.base_events import BaseEventLoop, _format_handle  # type: ignore[attr-defined]
from asyncio.log import logger
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from . import _tepal
from ._connections import ConnectionMethods
from ._datagrams import DatagramMethods
from ._endpoints import EndpointMethods
from ._executor import ExecutorMethods
from ._names import NameMethods
from ._processes import ProcessMethods
from ._sendfile import SendfileMethods
from ._signals import SignalMethods
from ._sockets import SocketMethods
from ._tasks import show_tasks_of
from ._tls import TlsMethods
from ._transports import TransportMethods

if TYPE_CHECKING:
    from ._supervisor import Supervisor

_CLOCK = frozenset({"time", "call_at"})
_REPLACEABLE = _CLOCK | {"call_soon", "create_task"}
"""Methods that native code passes by, unless somebody has put another in their place."""


class EventLoop(
    _tepal.Loop,
    ConnectionMethods,
    DatagramMethods,
    EndpointMethods,
    ExecutorMethods,
    NameMethods,
    ProcessMethods,
    SendfileMethods,
    SignalMethods,
    SocketMethods,
    TlsMethods,
    TransportMethods,
    BaseEventLoop,
):
    """An asyncio event loop, written in Rust.

    It is an `asyncio.BaseEventLoop` and has the interface that the asyncio document describes (chapter "Event Loop"),
    up to Python 3.15 and on every Python from 3.11. Make one with `new_event_loop`, or let `tepal.run` do so.
    """

    # An instance whose dict is filled costs 20 ns a method call, so what others keep in it has a slot here.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_children",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_servers",
        "_signal_desk",
    )

    _asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]]

    def __init__(self) -> None:
        """Make a loop that is neither running nor current.

        Raises:
            OSError: No descriptor is left.
        """
        self._asyncgens = weakref.WeakSet()
        # What the way out closes beside the transports: listening servers, and processes.
        self._servers = weakref.WeakSet()
        self._children = weakref.WeakSet()
        self._asyncgens_shutdown_called = False
        self._coroutine_origin_tracking_enabled = False
        self._coroutine_origin_tracking_saved_depth: int | None = None
        self._default_executor = None
        self._exception_handler: Callable[..., object] | None = None
        self._executor_shutdown_called = False
        self._debug = coroutines._is_debug_mode()  # type: ignore[attr-defined]
        # Not by vars(self): asking for the dict would make one, and slow every call of a method down.
        self._set_foreign(*_foreign(type(self)))
        show_tasks_of(self)
        _watch_forks()

    def run_forever(self) -> None:
        """Run until `stop()` is called.

        Raises:
            RuntimeError: The loop is closed or running, or another loop is running in this thread, or this is the
                child of a fork and the loop is its parent's.
        """
        self._check_closed()
        self._check_running()
        hooks = sys.get_asyncgen_hooks()
        self._set_coroutine_origin_tracking(self._debug)
        try:
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            events._set_running_loop(self)
            self._run()
        finally:
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def close(self) -> None:
        """Close the loop: its callbacks are dropped and its default executor is told to end, without waiting.

        Closing again does nothing.

        Raises:
            RuntimeError: The loop is running.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self._closed:
            return
        if self._debug:
            logger.debug("Close %r", self)
        self._close_signals()
        self._executor_shutdown_called = True
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=False)
        self._close()

    def create_supervisor(self, **options: Any) -> Supervisor:
        """Make a supervisor: it has this loop's methods, owns what is made through it, and cleans that up.

        Args:
            **options: As `tepal.open_supervisor`.

        Returns:
            What ``async with`` enters, while this loop runs.

        Not a checkpoint.
        """
        from ._supervisor import Supervisor

        return Supervisor(**options)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute, and notice when a method is replaced that native code calls."""
        super().__setattr__(name, value)
        if name in _REPLACEABLE:
            self._look_for_replacements()

    def __delattr__(self, name: str) -> None:
        """Delete an attribute, and notice when a method is put back."""
        super().__delattr__(name)
        if name in _REPLACEABLE:
            self._look_for_replacements()

    def _look_for_replacements(self) -> None:
        clock, call_soon, create_task = _foreign(type(self))
        own = vars(self)
        self._set_foreign(
            clock or not _CLOCK.isdisjoint(own),
            call_soon or "call_soon" in own,
            create_task or "create_task" in own,
        )

    # ------------------------------------------------------------------------------- what native code asks for

    def _call_later(self, delay: float, callback: Callable[..., object], *args: Any, **context: Any) -> Any:
        """`call_later` where `time` or `call_at` was replaced: through the instance, as asyncio does it."""
        return self.call_at(self.time() + delay, callback, *args, **context)

    def _check_call(self, callback: object, method: str, own_thread: bool) -> None:
        """Debug mode's checks of a callback that is about to be scheduled."""
        if own_thread:
            self._check_thread()
        self._check_callback(callback, method)

    def _create_task(self, coro: Coroutine[Any, Any, Any], **keywords: Any) -> Any:
        """`create_task` with a task factory, by the running interpreter's rules."""
        return BaseEventLoop.create_task(self, coro, **keywords)

    def _log_slow_callback(self, handle: asyncio.Handle, seconds: float) -> None:
        """Debug mode: a callback held the loop for too long."""
        logger.warning("Executing %s took %.3f seconds", _format_handle(handle), seconds)

    def _log_slow_connection(self, transport: object, protocol: object, seconds: float) -> None:
        """Debug mode: a protocol held the loop for too long."""
        if protocol is None:
            logger.warning("Executing %r took %.3f seconds", transport, seconds)
        else:
            logger.warning("Executing %r of %r took %.3f seconds", transport, protocol, seconds)

    def _resume_serving(self, factory: Any, sock: Any, server: Any, backlog: int, tls: Any) -> None:
        """Accept again after a pause, unless the server was closed meanwhile."""
        if sock.fileno() != -1:
            context, handshake_timeout, shutdown_timeout = tls or (None, None, None)
            self._start_serving(factory, sock, context, server, backlog, handshake_timeout, shutdown_timeout)


def new_event_loop() -> EventLoop:
    """Make a tepal event loop.

    It is what `loop_factory` wants: ``asyncio.run(main(), loop_factory=tepal.new_event_loop)`` from Python 3.12 on,
    ``asyncio.Runner(loop_factory=tepal.new_event_loop)`` from 3.11 on.

    Returns:
        A loop that is neither running nor current.

    Raises:
        OSError: No descriptor is left.
    """
    return EventLoop()


def _foreign(kind: type[EventLoop]) -> tuple[bool, bool, bool]:
    """Whether a subclass replaces the clock, `call_soon`, and `create_task`."""
    replaced = {name for name in _REPLACEABLE if getattr(kind, name) is not getattr(_tepal.Loop, name)}
    return not _CLOCK.isdisjoint(replaced), "call_soon" in replaced, "create_task" in replaced


_forks_watched = False


def _watch_forks() -> None:
    """From the first loop on, tell the native half in a forked child that loops made before are its parent's."""
    global _forks_watched
    if not _forks_watched:
        _forks_watched = True
        os.register_at_fork(after_in_child=_tepal.after_fork_in_child)
