"""What a probe is, and the list of all.

A probe is a function that uses one method, or one argument of it, as a program would. It fails by raising, and what it returns
is compared with what it returned on asyncio: so it returns only what must be the same everywhere (no port, no path, no
time).
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FAMILIES = (
    "running",
    "callbacks",
    "tasks",
    "threads",
    "names",
    "connections",
    "servers",
    "unix",
    "tls",
    "datagrams",
    "sendfile",
    "sockets",
    "watching",
    "pipes",
    "processes",
    "signals",
    "errors",
)
"""The modules in `families`, in the order of the table."""

LIMIT = 5.0
"""Seconds that a probe may take; it needs milliseconds."""

Body = Callable[[Any], Any]


@dataclass(frozen=True)
class Probe:
    """One row: a method and those of its arguments that `body` uses in earnest."""

    family: str
    method: str
    arguments: tuple[str, ...]
    case: str
    since: tuple[int, int]
    body: Body

    @property
    def name(self) -> str:
        """The row's name, which no other row has."""
        return f"{self.method}({', '.join(self.arguments)}){self.case and ', '}{self.case}"

    def run(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> object:
        """Do it on a fresh loop: an async body is run there, a plain one is given the function that makes loops."""
        if not inspect.iscoroutinefunction(self.body):
            return self.body(new_loop)

        async def main() -> object:
            return await asyncio.wait_for(self.body(asyncio.get_running_loop()), LIMIT)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main())


_found: list[Probe] = []


def probe(method: str, *arguments: str, case: str = "", since: tuple[int, int] = (3, 11)) -> Callable[[Body], Body]:
    """Declare a function to be the probe of a method, or of some of its arguments.

    Args:
        method: The method's name.
        *arguments: Names of arguments, as the method's signature has them; none for the method as a whole.
        case: What is special about this use of them, where they have several rows.
        since: The Python whose asyncio has it first.
    """

    def register(body: Body) -> Body:
        family = body.__module__.rpartition(".")[2]
        # Decorators are applied from the last to the first, and the table has them as they stand.
        place = next((at for at, other in enumerate(_found) if other.body is body), len(_found))
        _found.insert(place, Probe(family, method, arguments, case, since, body))
        return body

    return register


def every_probe() -> list[Probe]:
    """All of them, in the order of the table."""
    if not _found:
        for family in FAMILIES:
            importlib.import_module(f"{__package__}.families.{family}")
        names = [probe.name for probe in _found]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two rows of one name: {sorted(twice)}")
    return _found


def title(family: str) -> str:
    """What the table calls a family: the first line of its module's docstring."""
    return (sys.modules[f"{__package__}.families.{family}"].__doc__ or family).strip().splitlines()[0].rstrip(".")
