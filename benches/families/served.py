"""Servers that live through a round: one process per loop, started when its first case comes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from benches.processes import Child


class Servers:
    """Keeps one server per loop until the round ends. Those that wait for their turn cost nothing."""

    def __init__(self, start: Callable[[str], Child], stack: contextlib.ExitStack) -> None:
        self._start = start
        self._stack = stack
        self._running: dict[str, tuple[Child, int]] = {}

    @contextlib.contextmanager
    def lease(self, loop: str) -> Iterator[tuple[Child, int]]:
        """The server on this loop and its port. One that fails in the block is not trusted with the next case.

        Raises:
            MeasureError: It does not start.
        """
        if loop not in self._running:
            server = self._stack.enter_context(self._start(loop))
            self._running[loop] = server, int(server.read_line())
        try:
            yield self._running[loop]
        except BaseException:
            del self._running[loop]
            raise
