"""How a micro-benchmark is written: an async function of a count and a stopwatch, with a decorator."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


class Stopwatch:
    """Wall and processor time of the whole process.

    It runs from before the body to its end; a body with something to prepare starts it again, one with something to
    clear away stops it.
    """

    def __init__(self) -> None:
        self._running = False
        self.wall = 0
        self.cpu = 0
        self.start()

    def start(self) -> None:
        """Begins, or begins anew."""
        self._running = True
        self.wall = time.perf_counter_ns()
        self.cpu = time.process_time_ns()

    def stop(self) -> None:
        """Ends; later calls do nothing."""
        if self._running:
            self._running = False
            self.cpu = time.process_time_ns() - self.cpu
            self.wall = time.perf_counter_ns() - self.wall


Body = Callable[[int, Stopwatch], Awaitable[None]]


@dataclass(frozen=True)
class MicroCase:
    """A body that does something ``count`` times."""

    body: Body
    count: int
    repeats: int
    threads: bool


class Cases(dict[str, MicroCase]):
    """The cases of one module by name, in the order in which they are written."""

    def add(self, name: str, count: int, *, repeats: int = 3, threads: bool = False) -> Callable[[Body], Body]:
        """Registers a body. ``count`` is chosen so that asyncio takes about a twentieth of a second."""

        def register(body: Body) -> Body:
            self[name] = MicroCase(body, count, repeats, threads)
            return body

        return register
