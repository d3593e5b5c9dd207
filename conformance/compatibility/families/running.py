"""Running, stopping, closing."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from typing import Any

from ..probes import probe


@probe("run_forever")
@probe("stop")
def run_and_stop(new_loop: Any) -> object:
    loop = new_loop()
    seen: list[str] = []
    loop.call_soon(seen.append, "first")
    loop.stop()
    loop.run_forever()
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "in the last turn")
    loop.run_forever()
    loop.close()
    return seen


@probe("run_until_complete", "future")
def until_complete(new_loop: Any) -> object:
    loop = new_loop()
    seen = []

    async def fails() -> None:
        raise LookupError("as it should")

    try:
        seen.append(loop.run_until_complete(asyncio.sleep(0, "value")))
        for awkward in (fails(), "not awaitable"):
            try:
                loop.run_until_complete(awkward)
            except Exception as error:  # noqa: BLE001  # its name is the answer
                seen.append(type(error).__name__)
        never = loop.create_future()
        loop.call_soon(loop.stop)
        try:
            loop.run_until_complete(never)
        except RuntimeError as error:
            seen.append(str(error))
    finally:
        loop.close()
    return seen


@probe("is_running")
@probe("is_closed")
@probe("close")
def states(new_loop: Any) -> object:
    loop = new_loop()
    seen = [loop.is_running(), loop.is_closed()]

    async def inside() -> None:
        seen.append(loop.is_running())
        try:
            loop.close()
        except RuntimeError as error:
            seen.append(str(error))

    loop.run_until_complete(inside())
    loop.close()
    loop.close()
    seen += [loop.is_running(), loop.is_closed()]
    for refused in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print), loop.run_forever):
        try:
            refused()
        except Exception as error:  # noqa: BLE001  # its name is the answer
            seen.append(f"{type(error).__name__}: {error}")
    return seen


@probe("shutdown_asyncgens")
async def asyncgens(loop: Any) -> object:
    seen: list[object] = []

    async def numbers() -> Any:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    kept = numbers()
    seen.append(await anext(kept))
    await loop.shutdown_asyncgens()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        late = numbers()
        seen.append(await anext(late))
        seen.append([str(warning.category.__name__) for warning in caught])
    await late.aclose()
    return seen


@probe("shutdown_default_executor")
async def executor(loop: Any) -> object:
    before = threading.active_count()
    await loop.run_in_executor(None, time.sleep, 0)
    await loop.shutdown_default_executor()
    left = threading.active_count() - before
    try:
        await loop.run_in_executor(None, time.sleep, 0)
    except RuntimeError as error:
        return left, str(error)
    return left


@probe("shutdown_default_executor", "timeout", since=(3, 12))
async def executor_timeout(loop: Any) -> object:
    release = threading.Event()
    waiting = loop.run_in_executor(None, release.wait, 5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await loop.shutdown_default_executor(0.01)
    release.set()
    return await waiting, [warning.category.__name__ for warning in caught]
