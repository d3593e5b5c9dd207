"""Cancellation at every wait of every primitive: no item, no permit and no wake-up is lost, whoever is cancelled and whenever.

A scene is a handful of tasks around one primitive. It is played once to see how many turns it takes, and then again and again, each
time with another task cancelled in another turn (or two of them): everything that could happen does. Then the books must balance.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

import tepal

from .support import Run


class Scene:
    """Tasks around a primitive, and what must hold when all have ended."""

    def __init__(self, kit: Any) -> None:
        self.kit = kit

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        raise NotImplementedError

    def check_waiting(self) -> None:
        """Whether those who still wait wait for good reason; here there is none."""
        raise AssertionError("somebody waits for ever")

    async def check(self) -> None:
        """Whether nothing was lost; all tasks have ended."""


class Items(Scene):
    """Whoever puts counts what it has put, whoever gets what it has got: the rest is in the queue."""

    kind = "Queue"
    size = 1

    def __init__(self, kit: Any) -> None:
        super().__init__(kit)
        self.queue = getattr(kit, self.kind)(self.size)
        self.put: list[int] = []
        self.got: list[int] = []
        self.putting = self.getting = 0

    async def producer(self, first: int, count: int = 2) -> None:
        for item in range(first, first + count):
            self.putting += 1
            try:
                await self.queue.put(item)
            finally:
                self.putting -= 1
            self.put.append(item)

    async def consumer(self, count: int) -> None:
        for _ in range(count):
            self.getting += 1
            try:
                self.got.append(await self.queue.get())
            finally:
                self.getting -= 1

    def check_waiting(self) -> None:
        assert self.queue.empty() or not self.getting
        assert self.queue.full() or not self.putting

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        return [self.consumer(1), self.producer(0), self.consumer(2), self.producer(10), self.consumer(1)]

    async def check(self) -> None:
        left = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        assert sorted(self.got + left) == sorted(self.put)
        # And it still works, both ways.
        getter = asyncio.create_task(self.queue.get())
        await asyncio.sleep(0)
        await self.queue.put(99)
        assert await getter == 99


class LastItems(Items):
    kind = "LifoQueue"


class SmallestItems(Items):
    kind = "PriorityQueue"


class AnyItems(Items):
    size = 0


class ScarceItems(AnyItems):
    """One item for two: if it is told to one who was cancelled, the other must hear of it."""

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        return [self.consumer(1), self.consumer(1), self.producer(0, 1)]


class ScarceRoom(Items):
    """One place for two who put: likewise."""

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        return [self.producer(0, 1), self.producer(1, 1), self.producer(2, 1), self.consumer(1)]


class Locked(Scene):
    """One at a time, and free at the end."""

    def __init__(self, kit: Any) -> None:
        super().__init__(kit)
        self.lock = kit.Lock()
        self.inside = 0

    async def work(self) -> None:
        async with self.lock:
            self.inside += 1
            assert self.inside == 1
            try:
                await asyncio.sleep(0)
            finally:
                self.inside -= 1

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        return [self.work() for _ in range(4)]

    async def check(self) -> None:
        assert not self.lock.locked()
        await self.lock.acquire()


class Permits(Scene):
    """Two at a time, and both permits are there at the end."""

    def __init__(self, kit: Any) -> None:
        super().__init__(kit)
        self.semaphore = kit.BoundedSemaphore(2)
        self.inside = 0

    async def work(self) -> None:
        async with self.semaphore:
            self.inside += 1
            assert self.inside <= 2
            try:
                await asyncio.sleep(0)
            finally:
                self.inside -= 1

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        return [self.work() for _ in range(5)]

    async def check(self) -> None:
        await self.semaphore.acquire()
        await self.semaphore.acquire()
        assert self.semaphore.locked()


class Notified(Scene):
    """Each item is told to one who waits, and is taken by somebody."""

    def __init__(self, kit: Any) -> None:
        super().__init__(kit)
        self.condition = kit.Condition()
        self.items = 0
        self.taken = 0
        self.given = 0

    async def wait(self) -> None:
        async with self.condition:
            await self.condition.wait_for(lambda: self.items)
            self.items -= 1
            self.taken += 1

    async def give(self) -> None:
        for _ in range(3):
            async with self.condition:
                self.items += 1
                self.given += 1
                self.condition.notify()
            await asyncio.sleep(0)

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        return [self.wait(), self.wait(), self.give(), self.wait()]

    def check_waiting(self) -> None:
        assert not self.items

    async def check(self) -> None:
        assert not self.condition.locked()
        assert self.items == self.given - self.taken


class Told(Scene):
    """All who wait for an event go on when it is set."""

    def __init__(self, kit: Any) -> None:
        super().__init__(kit)
        self.event = kit.Event()
        self.on = 0

    async def wait(self) -> None:
        await self.event.wait()
        self.on += 1

    async def set(self) -> None:
        await asyncio.sleep(0)
        self.event.set()

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        return [self.wait(), self.set(), self.wait(), self.wait()]

    def check_waiting(self) -> None:
        assert not self.event.is_set()

    async def check(self) -> None:
        self.event.set()
        await self.event.wait()


class Limited(Scene):
    """Timeouts, waits and groups leave no task behind, and no request for cancellation."""

    def __init__(self, kit: Any) -> None:
        super().__init__(kit)
        self.before = asyncio.all_tasks()

    async def nap(self, turns: int) -> int:
        for _ in range(turns):
            await self.kit.sleep(0)
        return turns

    async def timed(self) -> None:
        async with self.kit.timeout(60):
            assert await self.kit.wait_for(self.nap(2), 60) == 2

    async def grouped(self) -> None:
        async with self.kit.TaskGroup() as group:
            group.create_task(self.nap(3))
            group.create_task(self.nap(1))
            await self.nap(2)

    async def gathered(self) -> None:
        assert await self.kit.gather(self.nap(1), self.nap(3)) == [1, 3]

    async def waited(self) -> None:
        tasks = [asyncio.create_task(self.nap(turns)) for turns in (1, 3)]
        try:
            await self.kit.wait(tasks)
            assert await self.kit.shield(tasks[1]) == 3
        finally:
            for task in tasks:
                task.cancel()

    def tasks(self) -> list[Coroutine[Any, Any, Any]]:
        return [self.timed(), self.grouped(), self.gathered(), self.waited()]

    async def check(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - self.before - {asyncio.current_task()}
        assert not left


SCENES = [Items, LastItems, SmallestItems, AnyItems, ScarceItems, ScarceRoom, Locked, Permits, Notified, Told, Limited]


async def play(scene: Scene, cancelled: dict[int, list[int]]) -> int:
    """One performance: in a turn those tasks are cancelled; how many turns it took."""
    tasks = [asyncio.create_task(one) for one in scene.tasks()]
    for turn in itertools.count():
        for place in cancelled.get(turn, []):
            tasks[place].cancel()
        if all(task.done() for task in tasks):
            break
        if turn > 40:
            # Those whose partner was cancelled wait for what nobody gives any more, and for nothing that is there.
            scene.check_waiting()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            break
        await asyncio.sleep(0)
    for task in tasks:
        if not task.cancelled():
            task.result()
    await scene.check()
    return turn


@pytest.mark.parametrize("kind", SCENES)
def test_nothing_is_lost(run: Run, kit: Any, kind: type[Scene]) -> None:
    if kind is Notified and kit is not tepal and sys.version_info < (3, 13):
        pytest.skip("asyncio's condition loses notifications up to Python 3.12")

    async def main() -> None:
        # (Where somebody is left waiting, the rest is over long before.)
        turns = min(await play(kind(kit), {}), 10)
        scene = kind(kit)
        places = range(len(performers := scene.tasks()))
        for coroutine in performers:
            coroutine.close()
        for turn in range(turns + 1):
            for one in places:
                await play(kind(kit), {turn: [one]})
                for other in places:
                    await play(kind(kit), {turn: [one, other]})
                    await play(kind(kit), {turn: [one], turn + 1: [other]})

    run(main)
