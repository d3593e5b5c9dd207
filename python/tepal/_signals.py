"""Signals as callbacks of the loop.

A Unix signal handler may run between any two instructions, so nothing of the loop can be touched from it. The way
out is old: the interpreter's own handler writes the number of the signal to a descriptor (`signal.set_wakeup_fd`),
the loop reads that descriptor like any other, and the user's callback becomes an ordinary job. The Python-level
handler does nothing: it is there because the interpreter writes only for signals that have one.

Since the bytes wait in the socket, a signal that arrives before the loop runs is delivered when it does.

The descriptor is one for the process, so only one loop at a time receives signals, as with asyncio: the one that
added a handler last.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import signal
import socket
import sys
import warnings
from asyncio import coroutines
from asyncio.log import logger
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVarTuple

from ._protocols import LoopSurface

_Ts = TypeVarTuple("_Ts")


class SignalMethods(LoopSurface):
    """``add_signal_handler`` and ``remove_signal_handler``."""

    __slots__ = ()

    # Set when first needed. The composed class gives it a slot, so that it does not fill the instance's dict.
    _signal_desk: SignalDesk

    @property
    def _signal_handlers(self) -> dict[int, asyncio.Handle]:
        """The handlers by number of their signal, in the shape that asyncio's loop has and others read."""
        return self._open_signal_desk().handlers

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call a function on the loop when a signal arrives.

        Args:
            sig: The number of the signal. An earlier handler of this loop for it is replaced.
            callback: The function. It runs as a job of the loop, in the context that is current now.
            *args: Its arguments.

        Raises:
            TypeError: `callback` is a coroutine or makes one, or `sig` is not a number.
            ValueError: There is no such signal.
            RuntimeError: The signal cannot be caught, this is not the main thread, or the loop is closed.

        Not a checkpoint.
        """
        if _is_coroutine(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        desk = self._open_signal_desk()
        desk.listen(self)
        desk.handlers[sig] = asyncio.Handle(callback, args, self, None)
        try:
            signal.signal(sig, _do_nothing)
            # Restart system calls that this signal interrupts, wherever the kernel can.
            signal.siginterrupt(sig, False)
        except OSError as error:
            del desk.handlers[sig]
            desk.rest_if_idle()
            raise _cannot_be_caught(sig, error) from None

    def remove_signal_handler(self, sig: int) -> bool:
        """Give a signal its default action back.

        Args:
            sig: The number of the signal.

        Returns:
            Whether there was a handler to remove.

        Raises:
            TypeError: `sig` is not a number.
            ValueError: There is no such signal.
            RuntimeError: The signal cannot be caught.

        Not a checkpoint.
        """
        self._check_signal(sig)
        desk = self._open_signal_desk()
        if desk.handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            raise _cannot_be_caught(sig, error) from None
        desk.rest_if_idle()
        return True

    def _check_signal(self, sig: object) -> None:
        """Raise TypeError or ValueError unless this is the number of a signal."""
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")

    def _handle_signal(self, sig: int) -> None:
        """Make a job of a signal that has arrived."""
        handle = self._signal_handlers.get(sig)
        if handle is None:
            return  # It was removed while its number stood in the socket, or is another's.
        if handle.cancelled():
            self.remove_signal_handler(sig)
        else:
            # A new handle for each arrival: the one at the desk may be wanted again before this one has run.
            self.call_soon(handle._callback, *handle._args, context=handle._context)  # type: ignore[attr-defined]

    def _close_signals(self) -> None:
        """Remove every handler and close the socket. Called when the loop is closed, while it can still be used.

        Raises:
            ValueError: There are handlers, and this is not the main thread.
        """
        desk = getattr(self, "_signal_desk", None)
        if desk is None:
            return
        if sys.is_finalizing():
            if desk.handlers:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal",
                    ResourceWarning,
                    stacklevel=2,
                    source=self,
                )
                desk.handlers.clear()
        else:
            for sig in list(desk.handlers):
                self.remove_signal_handler(sig)
        desk.close(self)

    def _open_signal_desk(self) -> SignalDesk:
        try:
            return self._signal_desk
        except AttributeError:
            desk = self._signal_desk = SignalDesk()
            return desk


class SignalDesk:
    """The handlers of one loop and the socket by which the interpreter tells it of signals."""

    __slots__ = ("_receiver", "_sender", "handlers")

    def __init__(self) -> None:
        """Make a desk without handlers; nothing is opened before `listen`."""
        self.handlers: dict[int, asyncio.Handle] = {}
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None

    def listen(self, loop: SignalMethods) -> None:
        """Have the interpreter write signals to this desk's socket, and the loop read it.

        Raises:
            RuntimeError: This is not the main thread.
        """
        if self._sender is not None:
            _set_wakeup(self._sender.fileno())
            return
        receiver, sender = socket.socketpair()
        try:
            receiver.setblocking(False)
            sender.setblocking(False)
            _set_wakeup(sender.fileno())
            loop.add_reader(receiver.fileno(), self._receive, loop)
        except BaseException:
            receiver.close()
            sender.close()
            raise
        self._receiver, self._sender = receiver, sender

    def rest_if_idle(self) -> None:
        """Take the socket away from the interpreter when there is no handler left."""
        if not self.handlers and self._sender is not None:
            _unset_wakeup(self._sender.fileno())

    def close(self, loop: SignalMethods) -> None:
        """Close the socket. The desk may be opened again."""
        if self._receiver is not None and self._sender is not None:
            # A loop that was inherited through a fork belongs to the parent and lets nothing be unregistered;
            # the child's copies are closed all the same.
            with suppress(RuntimeError):
                loop.remove_reader(self._receiver.fileno())
            self._receiver.close()
            self._sender.close()
            self._receiver = self._sender = None

    def _receive(self, loop: SignalMethods) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        try:
            numbers = receiver.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        for number in numbers:
            if number:
                loop._handle_signal(number)


# The descriptor that this module gave to the interpreter last, or -1: what a forked child must let go of.
_given = -1
_fork_hook_set = False


def _set_wakeup(descriptor: int) -> None:
    global _given, _fork_hook_set
    try:
        # The interpreter refuses this outside the main thread: so a loop in another thread gets no signals.
        signal.set_wakeup_fd(descriptor)
    except (ValueError, OSError) as error:
        raise RuntimeError(str(error)) from None
    _given = descriptor
    if not _fork_hook_set:
        os.register_at_fork(after_in_child=_forget_in_child)
        _fork_hook_set = True


def _unset_wakeup(descriptor: int) -> None:
    """Take our descriptor back; if another loop has given its own since, leave that in place."""
    global _given
    try:
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, descriptor):
            signal.set_wakeup_fd(current)
    except (ValueError, OSError) as error:
        logger.info("set_wakeup_fd(-1) failed: %s", error)
    if _given == descriptor:
        _given = -1


def _forget_in_child() -> None:
    """Keep a forked child's signals out of the socket that it shares with its parent."""
    global _given
    descriptor, _given = _given, -1
    if descriptor != -1:
        _unset_wakeup(descriptor)


def _is_coroutine(callback: object) -> bool:
    """Whether somebody expects a coroutine to be run by a signal.

    The mark is what asyncio knows disguised coroutine functions by (mocks bear it); the function that looks for it
    is deprecated since Python 3.14.
    """
    if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
        return True
    mark: object = coroutines._is_coroutine  # type: ignore[attr-defined]
    return getattr(callback, "_is_coroutine", None) is mark


def _do_nothing(signum: int, frame: object) -> None:
    """The Python-level handler: the work is done by the byte that the interpreter has written."""


def _cannot_be_caught(sig: int, error: OSError) -> Exception:
    """Return what to raise when the kernel refuses a handler."""
    if error.errno == errno.EINVAL:
        return RuntimeError(f"sig {sig} cannot be caught")
    return error
