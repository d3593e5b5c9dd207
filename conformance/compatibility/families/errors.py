"""Errors and debug mode."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from ..probes import probe


class Log(logging.Handler):
    """What asyncio's logger was told, while it is installed."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().splitlines()[0])

    def __enter__(self) -> list[str]:
        logging.getLogger("asyncio").addHandler(self)
        logging.getLogger("asyncio").propagate = False
        return self.lines

    def __exit__(self, *_: object) -> None:
        logging.getLogger("asyncio").removeHandler(self)


def fail() -> None:
    raise LookupError("as it should")


@probe("set_exception_handler", "handler")
@probe("get_exception_handler")
async def handler(loop: Any) -> object:
    seen: list[object] = [loop.get_exception_handler()]

    def handle(its_loop: Any, context: dict[str, Any]) -> None:
        seen.append((its_loop is loop, sorted(context), type(context["exception"]).__name__))

    loop.set_exception_handler(handle)
    seen.append(loop.get_exception_handler() is handle)
    loop.call_soon(fail)
    await asyncio.sleep(0.01)
    try:
        loop.set_exception_handler("no handler")
    except TypeError as error:
        seen.append(str(error))
    loop.set_exception_handler(None)
    seen.append(loop.get_exception_handler())
    return seen


@probe("call_exception_handler", "context")
@probe("default_exception_handler", "context")
async def default(loop: Any) -> object:
    def breaks(_loop: Any, _context: Any) -> None:
        raise ValueError("a handler that fails")

    with Log() as lines:
        loop.call_exception_handler({"message": "a message", "detail": 1})
        loop.default_exception_handler({"message": "another"})
        loop.default_exception_handler({})
        loop.set_exception_handler(breaks)
        loop.call_exception_handler({"message": "a third"})
        loop.set_exception_handler(None)
    return lines


@probe("get_debug")
@probe("set_debug", "enabled")
async def debug(loop: Any) -> object:
    seen: list[object] = [loop.get_debug()]
    loop.set_debug(True)
    seen.append(loop.get_debug())
    for wrong in ("no callback", debug):
        try:
            loop.call_soon(wrong)
        except TypeError as error:
            seen.append(type(error).__name__)
        else:
            seen.append("accepted")
    try:
        await asyncio.to_thread(loop.call_soon, print)
    except RuntimeError as error:
        seen.append(str(error).partition(" ")[0])
    loop.set_debug(False)
    return seen


@probe("slow_callback_duration")
async def slow(loop: Any) -> object:
    before = loop.slow_callback_duration
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    with Log() as lines:
        loop.call_soon(time.sleep, 0.02)
        await asyncio.sleep(0.03)
    loop.set_debug(False)
    loop.slow_callback_duration = before
    return before, any("took" in line for line in lines)
