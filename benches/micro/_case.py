"""How a micro-benchmark is written: an async function of a count and a stopwatch, with a decorator."""

from __future__ import annotations

import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal


class Stopwatch:
    """Wall and processor time of the whole process, and processor time of the children that ended meanwhile.

    It runs from before the body to its end; a body with something to prepare starts it again, one with something to
    clear away stops it.
    """

    def __init__(self) -> None:
        self._running = False
        self.wall = 0
        self.cpu = 0
        self.children = 0
        self.start()

    def start(self) -> None:
        """Begins, or begins anew."""
        self._running = True
        self.children = _children_ns()
        self.wall = time.perf_counter_ns()
        self.cpu = time.process_time_ns()

    def stop(self) -> None:
        """Ends; later calls do nothing."""
        if self._running:
            self._running = False
            self.cpu = time.process_time_ns() - self.cpu
            self.wall = time.perf_counter_ns() - self.wall
            self.children = _children_ns() - self.children


def _children_ns() -> int:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


Unit = Literal["ns", "us", "ms"]
Body = Callable[[int, Stopwatch], Awaitable[None]]


@dataclass(frozen=True)
class MicroCase:
    """A body that does something ``count`` times."""

    body: Body
    count: int
    repeats: int
    #: Threads or other processes do a part: it may use every core, and what the user waits for has a row of its own.
    helped: bool
    quick: bool


class Cases(dict[str, MicroCase]):
    """The cases of one module by the ids of their rows, in the order in which they are written."""

    def __init__(self, prefix: str = "micro", unit: Unit = "ns", what: str = "op") -> None:
        super().__init__()
        self._prefix = prefix
        self.unit: Unit = unit
        self.what = what

    def add(
        self,
        name: str,
        count: int,
        *,
        repeats: int = 3,
        helped: bool = False,
        quick: bool = True,
    ) -> Callable[[Body], Body]:
        """Registers a body. ``count`` is chosen so that asyncio takes about a twentieth of a second."""

        def register(body: Body) -> Body:
            self[f"{self._prefix}/{name}"] = MicroCase(body, count, repeats, helped, quick)
            return body

        return register
