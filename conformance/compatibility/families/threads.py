"""Executors."""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from ..probes import probe


def thread_name(*args: object) -> tuple[object, ...]:
    return (
        threading.current_thread().name.startswith("own"),
        threading.current_thread() is threading.main_thread(),
        *args,
    )


@probe("run_in_executor", "executor", "func", "args")
async def run(loop: Any) -> object:
    with ThreadPoolExecutor(1, thread_name_prefix="own") as own:
        given = await loop.run_in_executor(own, thread_name, 1, 2)
    return given, await loop.run_in_executor(None, thread_name)


@probe("set_default_executor", "executor")
async def default(loop: Any) -> object:
    seen: list[object] = []
    loop.set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="own"))
    seen.append(await loop.run_in_executor(None, thread_name))
    for wrong in (ProcessPoolExecutor, object):
        made: Any = wrong()
        try:
            loop.set_default_executor(made)
        except TypeError as error:
            seen.append(str(error))
        else:
            seen.append("accepted")
            loop.set_default_executor(ThreadPoolExecutor(1))
        if isinstance(made, ProcessPoolExecutor):
            made.shutdown()
    return seen
