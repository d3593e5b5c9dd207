"""Programs of tasks made by chance: spawn, await, cancel, time out, lock, queue, gather and group, with the same trace everywhere.

A program is a seed. It runs on the standard loop with asyncio's primitives, and what it writes down is the model. Then it runs on
tepal's loop twice, with asyncio's primitives and with tepal's. Time is the program's own: one tick for each turn of the loop, so
that nothing depends on how fast anything is, and timers and steps fall into each other's way as often as can be.

``--programs 10000`` runs that many; a short run is part of every test run.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tepal

TICKS = 400
"""Turns after which what is still pending is cancelled."""

STEPS = 60
WORKERS = 4
TICK = 1.0


class Stop(Exception):
    """What a worker raises when chance says so."""


class Program:
    """One run of the program of a seed."""

    def __init__(self, seed: int, kit: Any) -> None:
        self.chance = random.Random(seed)
        self.kit = kit
        self.log: list[str] = []
        self.now = 1000.0
        self.count = self.timers = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.futures: list[asyncio.Future[Any]] = []

    def run(self, loop: asyncio.AbstractEventLoop) -> list[str]:
        loop.time = lambda: self.now  # type: ignore[method-assign]
        loop.set_exception_handler(lambda _, context: self.log.append(f"told {context.get('exception')!r}"))
        try:
            loop.run_until_complete(self.main(loop))
            log, self.log = self.log, []
            loop.run_until_complete(self.end_children())
        finally:
            loop.close()
        return log

    async def main(self, loop: asyncio.AbstractEventLoop) -> None:
        kit = self.kit
        self.loop = loop
        self.lock, self.event, self.condition = kit.Lock(), kit.Event(), kit.Condition()
        self.semaphore, self.bounded = kit.Semaphore(1), kit.BoundedSemaphore(2)
        self.queues = [kit.Queue(1), kit.Queue(), kit.LifoQueue(2), kit.PriorityQueue(1)]
        loop.call_soon(self.tick, 0)
        for _ in range(WORKERS):
            self.spawn(loop.create_task)
        await self.over.wait()
        while pending := [task for task in self.tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.sleep(0)
        for task in self.tasks:
            self.log.append(f"{task.get_name()} {self.end(task)}")
        for queue in self.queues:
            self.log.append(f"left {queue.qsize()}")
        self.log.append(f"{self.lock.locked()} {self.semaphore.locked()} {self.bounded.locked()}")

    async def end_children(self) -> None:
        """End what nobody else has: children of calls that were broken off. In no order, so it is not written down."""
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.sleep(0)

    def tick(self, number: int) -> None:
        """Move the clock on, once in every turn."""
        self.now += TICK
        if number < TICKS and any(not task.done() for task in self.tasks):
            self.loop.call_soon(self.tick, number + 1)
        else:
            self.over.set()

    @property
    def over(self) -> asyncio.Event:
        if not hasattr(self, "_over"):
            self._over: asyncio.Event = self.kit.Event()
        return self._over

    @staticmethod
    def end(task: asyncio.Future[Any]) -> str:
        if not task.done():
            return "pending"
        return "cancelled" if task.cancelled() else f"{task.exception() or task.result()!r}"

    def seconds(self, *choices: float | None) -> float | None:
        """One of these times, and a little more that no other timer has: the order of equal ones is not defined."""
        chosen = self.chance.choice(choices)
        self.timers += 1
        return chosen and chosen + self.timers / 100_000

    def spawn(self, create_task: Callable[..., asyncio.Task[Any]]) -> asyncio.Task[Any]:
        name = f"t{len(self.tasks)}"
        task = create_task(self.work(name), name=name)
        self.tasks.append(task)
        return task

    def child(self) -> Coroutine[Any, Any, Any]:
        self.count += 1
        return self.work(f"c{self.count}", self.chance.randrange(3))

    async def work(self, name: str, steps: int | None = None) -> str:
        for step in range(self.chance.randrange(1, 6) if steps is None else steps):
            if self.count >= STEPS:
                break
            self.count += 1
            kind = self.chance.choice(KINDS)
            self.log.append(f"{name}.{step} {kind.__name__}")
            try:
                await kind(self, name)
            except asyncio.CancelledError as error:
                self.log.append(f"{name}.{step} cancelled {error.args}")
                if self.chance.random() < 0.8:
                    raise
            except TimeoutError:
                self.log.append(f"{name}.{step} timed out")
            except Exception as error:
                self.log.append(f"{name}.{step} {flat(error)}")
                if self.chance.random() < 0.2:
                    raise
            else:
                self.log.append(f"{name}.{step} over")
        return name

    # ------------------------------------------------------------------------------------------------ what a step can be

    async def pause(self, _name: str) -> None:
        await self.kit.sleep(0)

    async def sleep(self, _name: str) -> None:
        await self.kit.sleep(self.seconds(1, 2, 3.5))

    async def hold(self, name: str) -> None:
        async with self.lock:
            self.log.append(f"{name} holds")
            await self.kit.sleep(self.seconds(0, 0, 1))

    async def permit(self, name: str) -> None:
        async with self.chance.choice((self.semaphore, self.bounded)):
            self.log.append(f"{name} permitted")
            await self.kit.sleep(self.seconds(0, 2))

    async def put(self, name: str) -> None:
        place = self.chance.randrange(len(self.queues))
        self.count += 1
        await self.queues[place].put(self.count)
        self.log.append(f"{name} put {self.count} into {place}")

    async def get(self, name: str) -> None:
        place = self.chance.randrange(len(self.queues))
        self.log.append(f"{name} got {await self.queues[place].get()} from {place}")

    async def wait_event(self, _name: str) -> None:
        await self.event.wait()

    async def set_event(self, _name: str) -> None:
        self.event.clear() if self.event.is_set() else self.event.set()

    async def wait_condition(self, name: str) -> None:
        async with self.condition:
            await self.condition.wait()
            self.log.append(f"{name} notified")

    async def notify(self, _name: str) -> None:
        async with self.condition:
            self.condition.notify(self.chance.randrange(1, 3))

    async def limited(self, name: str) -> None:
        async with self.kit.timeout(self.seconds(0, 1, 2, None)):
            await self.chance.choice(INNER)(self, name)

    async def wait_for(self, _name: str) -> None:
        await self.kit.wait_for(self.child(), self.seconds(0, 1, 3, None))

    async def gather(self, name: str) -> None:
        children = [self.child() for _ in range(self.chance.randrange(4))]
        results = await self.kit.gather(*children, return_exceptions=self.chance.random() < 0.5)
        self.log.append(f"{name} gathered {[flat(one) for one in results]}")

    async def group(self, name: str) -> None:
        async with self.kit.TaskGroup() as group:
            # One at most: a group that ends early cancels its tasks in the order of a set, which is another in each run.
            for _ in range(self.chance.randrange(2)):
                self.tasks.append(group.create_task(self.child(), name=f"g{self.count}"))
            await self.chance.choice(INNER)(self, name)

    async def shield(self, name: str) -> None:
        self.log.append(f"{name} {await self.kit.shield(self.spawn(self.loop.create_task))}")

    async def wait(self, name: str) -> None:
        some = [self.spawn(self.loop.create_task) for _ in range(self.chance.randrange(1, 3))]
        until = self.chance.choice((asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION))
        done, pending = await self.kit.wait(some, timeout=self.seconds(None, 1, 4), return_when=until)
        self.log.append(f"{name} done {sorted(map(named, done))} pending {sorted(map(named, pending))}")

    async def future(self, name: str) -> None:
        future = self.loop.create_future()
        self.futures.append(future)
        self.log.append(f"{name} {await future}")

    async def resolve(self, _name: str) -> None:
        pending = [future for future in self.futures if not future.done()]
        if pending:
            future = self.chance.choice(pending)
            self.chance.choice((lambda: future.set_result(1), lambda: future.set_exception(Stop(2)), future.cancel))()

    async def fail(self, name: str) -> None:
        raise Stop(name)

    async def join(self, name: str) -> None:
        task = self.chance.choice(self.tasks)
        if task is not asyncio.current_task() and not any(one is task for one in self.joined):
            self.joined.append(task)
            self.log.append(f"{name} joined {await asyncio.wait_for(asyncio.shield(task), None)}")

    @property
    def joined(self) -> list[Any]:
        if not hasattr(self, "_joined"):
            self._joined: list[Any] = []
        return self._joined

    async def cancel(self, _name: str) -> None:
        task = self.chance.choice(self.tasks)
        message = self.chance.choice(((), ("why",)))
        self.log.append(f"cancel {task.get_name()} {task.cancel(*message)}")


def named(future: asyncio.Future[Any]) -> str:
    assert isinstance(future, asyncio.Task)
    return future.get_name()


def flat(outcome: object) -> str:
    """An outcome with the exceptions inside it."""
    if isinstance(outcome, BaseExceptionGroup):
        return f"({', '.join(flat(one) for one in outcome.exceptions)})"
    return repr(outcome)


P = Program
INNER: list[Callable[[Program, str], Coroutine[Any, Any, None]]] = [P.pause, P.sleep, P.hold, P.get, P.put, P.fail]
KINDS = [
    *INNER,
    *(P.permit, P.wait_event, P.set_event, P.wait_condition, P.notify, P.limited, P.limited, P.wait_for, P.gather),
    *(P.group, P.group, P.shield, P.wait, P.future, P.resolve, P.resolve, P.join, P.cancel, P.cancel, P.cancel),
]


@pytest.mark.parametrize("home", [asyncio, tepal], ids=["asyncios", "ours"])
@pytest.mark.parametrize("part", range(10))
def test_the_trace_is_that_of_asyncio(home: Any, part: int, request: pytest.FixtureRequest) -> None:
    programs = request.config.getoption("--programs")
    if sys.version_info < (3, 13) and home is tepal:
        # Our primitives keep the rules of later Pythons, which this asyncio does not know yet: they are compared with those.
        pytest.skip("the model is asyncio's of Python 3.13 and newer")
    for seed in range(part, programs, 10):
        expected = Program(seed, asyncio).run(asyncio.SelectorEventLoop())
        found = Program(seed, home).run(tepal.new_event_loop())
        assert found == expected, f"the program of seed {seed}"
        assert len(expected) > WORKERS
