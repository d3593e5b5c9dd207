"""Subprocess transports: a child, its pipes, and the protocol that is told of both.

The checks of arguments are `asyncio.BaseEventLoop`'s (`subprocess_exec`, `subprocess_shell`); here a child is started
(`_spawning.py`), watched (`_exits.py`) and connected. The order of what a protocol is told is asyncio's: nothing before
``connection_made``; each call in a turn of its own; ``connection_lost`` when the child has ended and all its pipes have.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import warnings
from asyncio.log import logger
from collections.abc import Callable
from functools import partial
from typing import Any

from ._exits import ExitWatch
from ._protocols import LoopSurface
from ._spawning import Child, start

_DIES_WITHIN = 1.0
"""How many seconds a child that was killed is waited for when there is no loop left to collect it."""


class ProcessMethods(LoopSurface):
    """What the loop's ``subprocess_exec`` and ``subprocess_shell`` call."""

    __slots__ = ()

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.SubprocessProtocol,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, object] | None = None,
        **kwargs: Any,
    ) -> asyncio.SubprocessTransport:
        """Start a child and connect its pipes; ``connection_made`` is called in a coming turn."""
        child = start(args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize, **kwargs)
        if self._debug:
            program = args if isinstance(args, (bytes, str)) else args[0]
            logger.debug("process %r created: pid %s", program, child.pid)
        try:
            transport = ProcessTransport(self, protocol, child, extra)
        except BaseException:  # no descriptor and no thread is left to watch it
            _undo(child)
            raise
        waiter = self.create_future()
        # In a task of its own, so that who gives up waiting does not stop in the middle.
        transport._connecting = self.create_task(transport._connect_pipes(waiter))
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport


def _undo(child: subprocess.Popen[bytes]) -> None:
    """End a child that nobody will hear of."""
    child.kill()
    for file in (child.stdin, child.stdout, child.stderr):
        if file is not None:
            file.close()
    child.wait()


class ProcessTransport(asyncio.SubprocessTransport):
    """A child process (see `asyncio.SubprocessTransport`)."""

    _extra: dict[str, object]

    def __init__(
        self,
        loop: LoopSurface,
        protocol: asyncio.SubprocessProtocol,
        child: subprocess.Popen[bytes],
        extra: dict[str, object] | None = None,
    ) -> None:
        """Take charge of a child that runs; its pipes are connected by `_connect_pipes`."""
        super().__init__(extra)
        self._closed = True  # until it has begun
        self._loop: LoopSurface | None = loop
        self._protocol: asyncio.SubprocessProtocol | None = protocol
        self._proc: subprocess.Popen[bytes] | None = child
        self._pid = child.pid
        self._returncode: int | None = None
        self._extra["subprocess"] = child
        files = enumerate((child.stdin, child.stdout, child.stderr))
        self._pipes: dict[int, _Pipe | None] = {fd: None for fd, file in files if file is not None}
        self._connecting: asyncio.Task[None] | None = None
        # What the protocol would have been told before `connection_made`; None afterwards.
        self._held_back: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = []
        self._waiters: list[asyncio.Future[int]] = []
        self._finished = False
        self._watch = ExitWatch(loop, child, self._process_exited)
        self._closed = False
        loop._children.add(self)
        if isinstance(child, Child):
            child._has_transport = True

    # ------------------------------------------------------------------------------------- what users call

    def get_pid(self) -> int:
        """Return the number of the process.

        Not a checkpoint.
        """
        return self._pid

    def get_returncode(self) -> int | None:
        """Return how the process ended: its exit status, minus the signal that killed it, or None while it runs.

        Not a checkpoint.
        """
        return self._returncode

    def get_pipe_transport(self, fd: int) -> asyncio.BaseTransport | None:
        """Return the transport of one of the child's standard streams.

        Args:
            fd: 0, 1 or 2, as the child knows them.

        Returns:
            A `WriteTransport` for 0, a `ReadTransport` for 1 and 2; None if that stream is not a pipe.

        Not a checkpoint.
        """
        pipe = self._pipes.get(fd)
        return None if pipe is None else pipe.pipe

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch to another protocol.

        Args:
            protocol: An `asyncio.SubprocessProtocol`.

        Not a checkpoint.
        """
        self._protocol = protocol  # type: ignore[assignment]

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol; None after ``connection_lost``.

        Not a checkpoint.
        """
        return self._protocol  # type: ignore[return-value]

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process; nothing happens when it has ended.

        Args:
            signal: The number of the signal.

        Raises:
            ProcessLookupError: The process has ended and ``connection_lost`` was called.

        Not a checkpoint.
        """
        child = self._running()
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM (see `send_signal`).

        Not a checkpoint.
        """
        child = self._running()
        with contextlib.suppress(ProcessLookupError):
            child.terminate()

    def kill(self) -> None:
        """Send SIGKILL (see `send_signal`).

        Not a checkpoint.
        """
        child = self._running()
        with contextlib.suppress(ProcessLookupError):
            child.kill()

    def is_closing(self) -> bool:
        """Whether `close` was called.

        Not a checkpoint.
        """
        return self._closed

    def close(self) -> None:
        """Close the pipes, and kill the process if it still runs. ``connection_lost`` is called when it has ended.

        Not a checkpoint.
        """
        if self._closed:
            return
        self._closed = True
        for pipe in self._pipes.values():
            if pipe is not None and pipe.pipe is not None:
                pipe.pipe.close()
        child = self._proc
        if child is None or self._returncode is not None or child.poll() is not None:
            return
        loop = self._loop
        if loop is not None and loop.get_debug():
            logger.warning("Close running child process: kill %r", self)
        # It may have ended just now, or run as another user.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            child.kill()
            if loop is not None and loop.is_closed():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_DIES_WITHIN)

    def __repr__(self) -> str:
        """Show the process and its pipes."""
        facts = ["closed"] if self._closed else []
        facts.append(f"pid={self._pid}")
        facts.append("running" if self._returncode is None else f"returncode={self._returncode}")
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            if pipe := self._pipes.get(fd):
                facts.append(f"{name}={pipe.pipe!r}")
        return f"<tepal.ProcessTransport {' '.join(facts)}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        """Warn when a transport is dropped open; its process is killed then."""
        if not self._closed:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self.close()
            if self._returncode is None:
                self._watch.close()

    # ------------------------------------------------------------------------------------- how it goes on

    def _running(self) -> subprocess.Popen[bytes]:
        if self._proc is None:
            raise ProcessLookupError
        return self._proc

    async def _connect_pipes(self, waiter: asyncio.Future[None]) -> None:
        """Connect the child's pipes, through the loop's own methods, and tell `waiter`."""
        loop, child = self._loop, self._proc
        assert loop is not None
        assert child is not None
        protocol: Any = self._protocol
        files = (child.stdin, child.stdout, child.stderr)
        try:
            for fd in list(self._pipes):
                factory: Any = partial(_Pipe if fd == 0 else _ReadPipe, self, fd)
                connect: Any = loop.connect_write_pipe if fd == 0 else loop.connect_read_pipe
                _, pipe = await connect(factory, files[fd])
                self._pipes[fd] = pipe
                if self._closed:
                    pipe.pipe.close()
            loop.call_soon(protocol.connection_made, self)
            held_back, self._held_back = self._held_back, None
            for call, data in held_back or ():
                loop.call_soon(call, *data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            self._give_up(files)
            if not waiter.done():
                waiter.set_exception(error)
        else:
            if not waiter.done():
                waiter.set_result(None)
        finally:
            self._connecting = None

    def _give_up(self, files: tuple[Any, ...]) -> None:
        """Let go of the pipes that could not be connected: nobody will hear of their ends."""
        for fd in [fd for fd, pipe in self._pipes.items() if pipe is None]:
            del self._pipes[fd]
            files[fd].close()
        self._held_back = None
        self._protocol = asyncio.SubprocessProtocol()
        self._try_finish()

    def _call(self, call: Callable[..., object], *data: Any) -> None:
        """Tell the protocol something in a coming turn, and not before ``connection_made``."""
        if self._held_back is not None:
            self._held_back.append((call, data))
        elif self._loop is not None:
            self._loop.call_soon(call, *data)

    def _pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._protocol is not None:
            self._call(self._protocol.pipe_data_received, fd, data)

    def _pipe_connection_lost(self, fd: int, error: Exception | None) -> None:
        if self._protocol is not None:
            self._call(self._protocol.pipe_connection_lost, fd, error)
        self._try_finish()

    def _process_exited(self, returncode: int) -> None:
        """The child has ended and was collected."""
        loop, child, protocol = self._loop, self._proc, self._protocol
        if loop is not None and loop.get_debug():
            logger.info("%r exited with return code %r", self, returncode)
        self._returncode = returncode
        if child is not None and child.returncode is None:
            child.returncode = returncode
        if protocol is not None:
            self._call(protocol.process_exited)
        self._try_finish()
        # Now, and not when the pipes have ended: a grandchild may hold those open for as long as it likes
        # (asyncio has it so in its later releases; tests/regressions/test_wait_with_an_open_pipe.py).
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(returncode)

    def _try_finish(self) -> None:
        """When the child has ended and its pipes have, so has the transport."""
        if self._finished or self._returncode is None:
            return
        if all(pipe is not None and pipe.disconnected for pipe in self._pipes.values()):
            self._finished = True
            self._call(self._call_connection_lost, None)

    def _call_connection_lost(self, error: Exception | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(error)
        finally:
            self._loop = self._proc = self._protocol = None

    async def _wait(self) -> int:
        """Wait until the child has ended and return its return code; `Process.wait` calls this."""
        if self._returncode is not None:
            return self._returncode
        assert self._loop is not None
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._waiters.append(waiter)
        return await waiter


class _Pipe(asyncio.BaseProtocol):
    """One of a child's pipes: tells the process's protocol what happens on it."""

    def __init__(self, process: ProcessTransport, fd: int) -> None:
        self.fd = fd
        self.pipe: Any = None
        self.disconnected = False
        self.process: ProcessTransport | None = process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pipe = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.disconnected = True
        process, self.process = self.process, None
        if process is not None:
            process._pipe_connection_lost(self.fd, exc)

    def pause_writing(self) -> None:
        if self.process is not None and self.process._protocol is not None:
            self.process._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self.process is not None and self.process._protocol is not None:
            self.process._protocol.resume_writing()

    def __repr__(self) -> str:
        return f"<tepal pipe protocol fd={self.fd} pipe={self.pipe!r}>"


class _ReadPipe(_Pipe, asyncio.Protocol):
    """One that the child writes."""

    def data_received(self, data: bytes) -> None:
        if self.process is not None:
            self.process._pipe_data_received(self.fd, data)
