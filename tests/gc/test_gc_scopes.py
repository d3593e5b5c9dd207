"""Scopes, nurseries, channels and supervisors in cycles, ended well, broken off, and abandoned."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import tepal

Collected = Callable[..., None]
Refs = tuple[weakref.ref[Any], ...]


class Owner:
    """Something that keeps what it started, and is kept by it."""

    kept: Any = None

    async def wait(self) -> None:
        await asyncio.get_running_loop().create_future()


async def scope_that_has_ended(owner: Owner) -> list[Any]:
    with tepal.move_on_after(0) as scope:
        owner.kept = scope
        await owner.wait()
    return [scope]


async def scope_that_was_never_entered(owner: Owner) -> list[Any]:
    owner.kept = tepal.CancelScope(deadline=1e9)
    return [owner.kept]


async def scope_whose_task_is_gone(owner: Owner) -> list[Any]:
    async def leaves_it_open() -> None:
        scope = tepal.CancelScope(relative_deadline=1000)
        scope.__enter__()
        owner.kept = scope

    await asyncio.create_task(leaves_it_open())
    return [owner.kept]


async def nursery_that_has_ended(owner: Owner) -> list[Any]:
    with contextlib.suppress(ExceptionGroup):
        async with tepal.open_nursery() as nursery:
            owner.kept = nursery
            task = nursery.start_soon(owner.wait)
            await tepal.sleep(0)
            raise KeyError(owner)
    return [nursery, nursery.cancel_scope, task]


async def nursery_that_was_abandoned(owner: Owner) -> list[Any]:
    async def abandons() -> None:
        nursery = tepal.open_nursery()
        await nursery.__aenter__()
        owner.kept = nursery
        nursery.start_soon(tepal.sleep, 0)

    await asyncio.create_task(abandons())
    for _ in range(3):
        await tepal.sleep(0)
    return [owner.kept]


async def task_that_was_started(owner: Owner) -> list[Any]:
    async def starts(*, task_status: Any) -> None:
        owner.kept = task_status
        task_status.started(owner)

    async with tepal.open_nursery() as nursery:
        await nursery.start(starts)
    return [nursery]


async def channel_with_itself_in_it(owner: Owner) -> list[Any]:
    sender, receiver = tepal.open_channel(2)
    owner.kept = receiver
    sender.send_nowait(owner)
    sender.send_nowait(receiver)
    return [sender, receiver]


async def channel_where_somebody_waited(owner: Owner) -> list[Any]:
    sender, receiver = tepal.open_channel(0)
    owner.kept = sender
    tasks = [asyncio.create_task(sender.send(owner)), asyncio.create_task(receiver.clone().receive())]
    await tepal.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return [sender, receiver]


class Keeps(asyncio.Protocol):
    """Keeps the owner, and fails.

    No function's class: a free-threaded 3.13 that has seen a thread never lets go of a class, and so of what its methods refer to.
    """

    def __init__(self, owner: Owner) -> None:
        self.kept = owner

    def data_received(self, data: bytes) -> None:
        raise KeyError(self)


async def supervisor_that_has_ended(owner: Owner) -> list[Any]:
    make = functools.partial(Keeps, owner)
    with contextlib.suppress(ExceptionGroup):
        async with tepal.open_supervisor() as sup:
            owner.kept = sup
            server = await sup.create_server(make, "127.0.0.1", 0)
            transport, protocol = await sup.create_connection(make, *server.sockets[0].getsockname())
            sup.call_later(1000, owner.wait)
            sup.create_task(owner.wait())
            sup.child(owner.wait)
            transport.write(b"x")
            await owner.wait()
    return [sup, server, transport, protocol]


async def results_of_a_map(owner: Owner) -> list[Any]:
    async def give(number: int) -> int:
        return number

    async with tepal.amap(give, range(3)) as results:
        owner.kept = results
        async for _ in results:
            break
    return [results]


async def thread_and_portal(owner: Owner) -> list[Any]:
    async with tepal.open_portal() as portal:
        owner.kept = portal
        await tepal.to_thread.run(portal.run, tepal.sleep, 0, owner)
    return [portal]


SCENES = [
    *(scope_that_has_ended, scope_that_was_never_entered, scope_whose_task_is_gone),
    *(nursery_that_has_ended, nursery_that_was_abandoned, task_that_was_started),
    *(
        channel_with_itself_in_it,
        channel_where_somebody_waited,
        supervisor_that_has_ended,
        results_of_a_map,
        thread_and_portal,
    ),
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_it_goes(
    loop: asyncio.AbstractEventLoop, assert_collected: Collected, scene: Callable[[Owner], Awaitable[list[Any]]]
) -> None:
    async def main() -> Refs:
        owner = Owner()
        made = await scene(owner)
        refs = [weakref.ref(owner)]
        for one in made:
            with contextlib.suppress(TypeError):
                refs.append(weakref.ref(one))
        assert len(refs) > 1 or scene is results_of_a_map
        return tuple(refs)

    refs = loop.run_until_complete(main())
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    assert_collected(*refs)
