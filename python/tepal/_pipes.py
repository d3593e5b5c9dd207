"""Pipe transports as Python sees them: the native halves, and what is asked once per pipe.

Bytes never pass through this file.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from . import _tepal

if TYPE_CHECKING:
    import asyncio

    class _Native:
        """What both native halves have."""

        def _facts(self) -> tuple[int, bool, bool, int, int, bool] | None: ...

        def _file(self) -> Any: ...

        def _forget_file(self) -> None: ...

        def _get_loop(self) -> asyncio.AbstractEventLoop | None: ...

        def get_protocol(self) -> Any: ...

else:
    _Native = object


class _Pipe(_Native):
    """What both directions tell of themselves."""

    _extra: dict[str, object] = {}  # noqa: RUF012 - never changed: each instance gets a dict of its own
    """What `get_extra_info` knows: ``"pipe"``, the file object, also once it is closed."""

    @property
    def _loop(self) -> asyncio.AbstractEventLoop | None:
        return self._get_loop()

    @property
    def _pipe(self) -> Any:
        return self._file()

    @_pipe.setter
    def _pipe(self, nothing: None) -> None:
        """Leave the file object to whoever else holds it."""
        self._forget_file()

    @property
    def _fileno(self) -> int:
        return self._fact(0, -1)

    @property
    def _paused(self) -> bool:
        return bool(self._fact(1, False))

    @property
    def _closing(self) -> bool:
        return bool(self._fact(2, True))

    @property
    def _conn_lost(self) -> int:
        return self._fact(3, 1)

    @property
    def _protocol(self) -> asyncio.BaseProtocol | None:
        protocol: asyncio.BaseProtocol | None = self.get_protocol()
        return protocol

    def _fact(self, which: int, default: int) -> int:
        facts = self._facts()
        return default if facts is None else facts[which]

    def _state(self) -> str:
        if self._file() is None:
            return "closed"
        return "closing" if self._closing else "open"

    def __del__(self) -> None:
        """Warn when a pipe is dropped open; its file is closed then."""
        file = self._file()
        if file is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)
            file.close()


class ReadPipeTransport(_Pipe, _tepal.ReadPipe):
    """The reading end of a pipe, a FIFO, a socket or a character device (see `asyncio.ReadTransport`).

    The file object belongs to the transport, which closes it after ``connection_lost``. The end of what can be read
    closes the transport.
    """

    def __repr__(self) -> str:
        """Show the descriptor, and whether it is read."""
        reading = "idle" if self._paused or self._closing else "polling"
        return f"<tepal.ReadPipeTransport {self._state()} fd={self._fileno} {reading}>"


class WritePipeTransport(_Pipe, _tepal.WritePipe):
    """The writing end of a pipe, a FIFO, a socket or a character device (see `asyncio.WriteTransport`).

    The file object belongs to the transport, which closes it after ``connection_lost``. When whoever reads goes away,
    ``connection_lost`` tells so. What one callback or one step of a task writes leaves with one system call when that
    job ends, or sooner past 64 KiB; a mutable buffer is copied at `write`.
    """

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks between which `pause_writing` and `resume_writing` are called.

        Args:
            high: Pause above so many bytes; 64 KiB, or four times `low`, when None.
            low: Resume at so many bytes; a quarter of `high` when None.

        Raises:
            ValueError: ``high >= low >= 0`` does not hold.

        Not a checkpoint.
        """
        self._set_limits((high, low))

    def __repr__(self) -> str:
        """Show the descriptor, and how much waits for it."""
        buffered, writing = self._fact(4, 0), "polling" if self._fact(5, False) else "idle"
        return f"<tepal.WritePipeTransport {self._state()} fd={self._fileno} {writing}, bufsize={buffered}>"
