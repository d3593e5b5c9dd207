"""What this release of the loop does not do yet, said in a sentence.

Each method here is one that asyncio has. Without these definitions `asyncio.BaseEventLoop` would answer, half of
it working by accident and half failing deep inside; a caller is better served by an error at the door.
"""

from __future__ import annotations

from typing import NoReturn

from ._protocols import LoopSurface

_UNTIL_THEN = "Until it does, run this part of the program on asyncio's own loop."


class UnsupportedMethods(LoopSurface):
    """Pipes and subprocesses."""

    __slots__ = ()

    async def connect_read_pipe(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported yet.

        Raises:
            NotImplementedError: Always.
        """
        raise _not_yet("pipe transports")

    async def connect_write_pipe(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported yet.

        Raises:
            NotImplementedError: Always.
        """
        raise _not_yet("pipe transports")

    async def subprocess_shell(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported yet.

        Raises:
            NotImplementedError: Always.
        """
        raise _not_yet("subprocesses")

    async def subprocess_exec(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported yet.

        Raises:
            NotImplementedError: Always.
        """
        raise _not_yet("subprocesses")


def _not_yet(what: str) -> NotImplementedError:
    return NotImplementedError(f"tepal does not support {what} yet. {_UNTIL_THEN}")
