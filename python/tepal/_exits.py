"""How the loop learns that a child has ended.

By a pidfd in its reactor: it is readable once the child has ended, needs neither SIGCHLD nor a thread, and works in any
thread and beside whatever else waits for children. Where the kernel has none, a thread waits, and leaves the child for
the loop to collect. So a child's number is collected in the loop's own thread, under the lock of its `Popen`, and
nobody signals a number that has been given to somebody else.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from . import _tepal
from ._spawning import Child

_NATIVE: Any = _tepal.Loop
"""Whose methods are called, not the instance's: a replaced `add_reader` is the user's affair, and these are ours."""

_UNKNOWN = 255
"""What a child's end is reported as when somebody else has collected it (asyncio's number)."""


class ExitWatch:
    """The watch over one child, until it has ended."""

    def __init__(self, loop: Any, child: subprocess.Popen[bytes], told: Callable[[int], object]) -> None:
        """Begin to watch.

        Args:
            loop: The loop, in whose thread this is.
            child: The child.
            told: Called in a turn of the loop with the child's return code, once.
        """
        self._loop = loop
        self._child = child
        self._told = told
        self._fd = -1
        try:
            self._fd = os.pidfd_open(child.pid)
        except ProcessLookupError:
            # Somebody has collected it already, or SIGCHLD is ignored and so the kernel has.
            loop.call_soon(self._handle_end)
        except (AttributeError, OSError):
            name = f"tepal-waits-for-{child.pid}"
            threading.Thread(target=self._wait, name=name, daemon=True).start()
        else:
            if isinstance(child, Child):
                child._exit_fd = self._fd
            _NATIVE.add_reader(loop, self._fd, self._handle_end)

    def close(self) -> None:
        """Watch no more."""
        fd, self._fd = self._fd, -1
        if fd == -1:
            return
        if isinstance(self._child, Child):
            self._child._exit_fd = -1
        # A loop that was inherited through a fork lets nothing be unregistered.
        with contextlib.suppress(RuntimeError):
            _NATIVE.remove_reader(self._loop, fd)
        os.close(fd)

    def _handle_end(self) -> None:
        try:
            code = _collected(self._child)
        except BaseException:
            self.close()
            raise
        if code is not None:
            self.close()
            # One turn later, as in asyncio: what the child wrote and the loop has just read is told before its end.
            self._loop.call_soon(self._told, code)

    def _wait(self) -> None:
        """Wait in a thread of its own."""
        with contextlib.suppress(ChildProcessError):
            if hasattr(os, "waitid"):
                os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
            else:
                self._child.wait()
        try:
            self._loop.call_soon_threadsafe(self._handle_end)
        except RuntimeError:
            logger.warning("Loop %r that handles pid %r is closed", self._loop, self._child.pid)
            self._child.poll()


def _collected(child: subprocess.Popen[bytes]) -> int | None:
    """Collect a child's end; None if it has not ended after all.

    Returns:
        The return code. Whoever has collected the child through its `Popen` has left it there.
    """
    # Another thread may be in the middle of wait(); the child has ended, so it will not be long.
    with getattr(child, "_waitpid_lock", None) or contextlib.nullcontext():
        if child.returncode is not None:
            return child.returncode
        try:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
        except ChildProcessError:
            logger.warning(
                "child process pid %d exit status already read:  will report returncode %d", child.pid, _UNKNOWN
            )
            return _UNKNOWN
        if pid == 0:
            return None
        try:
            child.returncode = os.waitstatus_to_exitcode(status)
        except ValueError:
            # Neither an exit nor a signal. It should not happen; who looks into it wants to see the number.
            child.returncode = status
        return child.returncode
