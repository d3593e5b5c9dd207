"""Futures and tasks."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from ..probes import probe

WHERE = contextvars.ContextVar("WHERE", default="outside")


async def where() -> str:
    return WHERE.get()


@probe("create_future")
async def future(loop: Any) -> object:
    made = loop.create_future()
    loop.call_soon(made.set_result, "value")
    return isinstance(made, asyncio.Future), made.get_loop() is loop, await made


@probe("create_task", "coro")
async def task(loop: Any) -> object:
    made = loop.create_task(asyncio.sleep(0, "value"))
    return isinstance(made, asyncio.Task), made in asyncio.all_tasks(), await made


@probe("create_task", "name")
async def task_name(loop: Any) -> object:
    made = loop.create_task(where(), name="a name")
    await made
    return made.get_name()


@probe("create_task", "context")
async def task_context(loop: Any) -> object:
    context = contextvars.copy_context()
    context.run(WHERE.set, "inside")
    return await loop.create_task(where(), context=context)


@probe("create_task", "eager_start", since=(3, 14))
async def task_eager(loop: Any) -> object:
    seen: list[str] = []

    async def first_step() -> None:
        seen.append("begun")
        await asyncio.sleep(0)
        seen.append("ended")

    made = loop.create_task(first_step(), eager_start=True)
    seen.append("made")
    await made
    return seen


@probe("create_task", "kwargs", since=(3, 14))
async def task_keywords(loop: Any) -> object:
    seen: list[Any] = []

    def factory(loop: Any, coro: Any, **keywords: Any) -> Any:
        seen.append(sorted(keywords.items()))
        return asyncio.Task(coro, loop=loop)

    loop.set_task_factory(factory)
    await loop.create_task(where(), its_own="keyword")
    loop.set_task_factory(None)
    return seen


@probe("set_task_factory", "factory")
@probe("get_task_factory")
async def factories(loop: Any) -> object:
    seen: list[Any] = [loop.get_task_factory()]

    def factory(loop: Any, coro: Any, **keywords: Any) -> Any:
        seen.append(sorted(keywords))
        return asyncio.Task(coro, loop=loop, **keywords)

    loop.set_task_factory(factory)
    seen.append(loop.get_task_factory() is factory)
    await loop.create_task(where())
    await loop.create_task(where(), name="a name")
    try:
        loop.set_task_factory("no factory")
    except TypeError as error:
        seen.append(str(error))
    loop.set_task_factory(None)
    seen.append(loop.get_task_factory())
    return seen
