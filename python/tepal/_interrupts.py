"""Signals for coroutines: wait for an interrupt, or receive signals one by one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._sync import Event

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


class SignalReceiver:
    """The signals that arrive, as an async iterator of their numbers.

    A signal that arrives again before it was received is received once, as the kernel itself does it.
    """

    def __init__(self) -> None:
        self._pending: dict[signal.Signals, None] = {}
        self._arrived = Event()

    def __aiter__(self) -> SignalReceiver:
        """Iterate over what arrives. Not a checkpoint."""
        return self

    async def __anext__(self) -> signal.Signals:
        """Wait for the next signal. A checkpoint if none is there."""
        while not self._pending:
            self._arrived.clear()
            await self._arrived.wait()
        first = next(iter(self._pending))
        del self._pending[first]
        return first

    def _receive(self, signum: signal.Signals) -> None:
        self._pending.setdefault(signum)
        self._arrived.set()

    def _take_all(self) -> list[signal.Signals]:
        pending = list(self._pending)
        self._pending.clear()
        return pending


@contextmanager
def open_signal_receiver(*signals: int) -> Iterator[SignalReceiver]:
    """Receive signals in a coroutine, as long as a block lasts.

    ``with tepal.open_signal_receiver(signal.SIGHUP) as received:`` makes ``async for signum in received`` wait for them. At the
    end of the block the handlers that stood before stand again; what was not received is delivered to them.

    Args:
        signals: The numbers of the signals.

    Yields:
        The receiver.

    Raises:
        TypeError: No signal was named.
        ValueError: There is no such signal.
        RuntimeError: No loop runs, this is not the main thread, or a signal cannot be caught.

    Not a checkpoint.
    """
    if not signals:
        raise TypeError("No signals were provided")
    loop = asyncio.get_running_loop()
    wanted = [signal.Signals(signum) for signum in dict.fromkeys(signals)]
    receiver = SignalReceiver()
    before: dict[signal.Signals, Any] = {}
    try:
        for signum in wanted:
            handler = _handler(loop, signum)
            loop.add_signal_handler(signum, receiver._receive, signum)
            before[signum] = handler
        yield receiver
    finally:
        for signum, handler in before.items():
            _put_back(loop, signum, handler)
        for signum in receiver._take_all():
            signal.raise_signal(signum)


async def wait_for_interrupt() -> signal.Signals:
    """Wait for Ctrl-C (SIGINT) or SIGTERM, which is then no error: the program goes on behind this, and ends as it likes.

    Outside of this call Ctrl-C is what it was; so a second one, while the program winds up, cancels its main task.

    Returns:
        The signal.

    Raises:
        RuntimeError: This is not the main thread.

    A checkpoint.
    """
    with open_signal_receiver(*INTERRUPTS) as received:
        return await anext(received)


def _handler(loop: Any, signum: signal.Signals) -> Any:
    """What stands for a signal: a handler of this loop's, or of Python's."""
    own = getattr(loop, "_signal_handlers", {}).get(signum)
    return own if own is not None else signal.getsignal(signum)


def _put_back(loop: Any, signum: signal.Signals, handler: Any) -> None:
    if isinstance(handler, asyncio.Handle):
        loop.add_signal_handler(signum, handler._callback, *handler._args)  # type: ignore[attr-defined]
        return
    loop.remove_signal_handler(signum)
    # (None: it was not set from Python, and cannot be put back from here.)
    if handler is not None:
        signal.signal(signum, handler)
