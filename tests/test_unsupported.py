"""What the loop does not do yet is refused at the door, in a sentence, before anything is opened or called."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest

import tepal


def never() -> NoReturn:
    raise AssertionError("the factory must not be called")


REFUSED: dict[str, Callable[[Any], Awaitable[object]]] = {
    "read pipe": lambda loop: loop.connect_read_pipe(never, sys.stdin),
    "write pipe": lambda loop: loop.connect_write_pipe(never, sys.stdout),
    "shell": lambda loop: loop.subprocess_shell(never, "exit 1"),
    "exec": lambda loop: loop.subprocess_exec(never, sys.executable, "-c", "0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(NotImplementedError, match=r"tepal does not support .* yet"):
            await REFUSED[name](loop)

    tepal.run(main())
