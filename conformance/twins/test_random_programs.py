"""Programs made by chance, run on the loop under test and on the standard one: the order of everything must be the same.

A program is a seed. It schedules, cancels, wakes, sleeps for no time and forks into tasks; what it writes down names each
step. Nothing in it depends on the clock: timers lie in the past, each at its own time, or too far away to come.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest

from .support import LoopFactory

STEPS = 400


class Program:
    """One run of the program of a seed on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self.loop = loop
        self.chance = random.Random(seed)
        self.log: list[str] = []
        self.handles: list[asyncio.Handle] = []
        self.futures: list[asyncio.Future[int]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.count = 0
        self.began = loop.time()

    def run(self) -> list[str]:
        for _ in range(5):
            self.act()
        while self.count < STEPS:
            self.loop.call_soon(self.callback, "seed")
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            self.log.append("stopped")
        self.finish()
        return self.log

    def finish(self) -> None:
        for task in self.tasks:
            task.cancel()
        for future in self.futures:
            future.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))
        self.log.extend(f"task {task.get_name()} {'cancelled' if task.cancelled() else 'done'}" for task in self.tasks)

    def act(self) -> None:
        """Do one thing that chance chooses."""
        if self.count >= STEPS:
            return
        self.count += 1
        name = f"{self.count}"
        actions: list[Callable[[str], None]] = [
            self.soon,
            self.soon,
            self.threadsafe,
            self.past,
            self.far,
            self.cancel,
            self.task,
            self.future,
            self.resolve,
            self.cancel_task,
            self.fail,
        ]
        self.chance.choice(actions)(name)

    def callback(self, name: str) -> None:
        self.log.append(f"callback {name}")
        for _ in range(self.chance.choice((0, 0, 1, 1, 2, 3))):
            self.act()

    def soon(self, name: str) -> None:
        self.handles.append(self.loop.call_soon(self.callback, name))

    def threadsafe(self, name: str) -> None:
        self.handles.append(self.loop.call_soon_threadsafe(self.callback, name))

    def past(self, name: str) -> None:
        when = self.began - self.chance.randrange(1, 10**6) - self.count / 1000
        self.handles.append(self.loop.call_at(when, self.callback, name))

    def far(self, name: str) -> None:
        self.handles.append(self.loop.call_later(10**6 + self.count, self.callback, name))

    def cancel(self, name: str) -> None:
        if self.handles:
            index = self.chance.randrange(len(self.handles))
            self.log.append(f"cancel {index}: {self.handles[index].cancelled()}")
            self.handles[index].cancel()

    def task(self, name: str) -> None:
        self.tasks.append(self.loop.create_task(self.coroutine(name), name=name))

    async def coroutine(self, name: str) -> None:
        for step in range(self.chance.randrange(5)):
            self.log.append(f"task {name} step {step}")
            kind = self.chance.randrange(4)
            try:
                if kind == 0 or not self.futures:
                    await asyncio.sleep(0)
                elif kind == 1:
                    self.log.append(f"result {await asyncio.shield(self.chance.choice(self.futures))}")
                elif kind == 2:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(asyncio.shield(self.chance.choice(self.futures)), 10**6)
                else:
                    await asyncio.wait([self.chance.choice(self.futures)], timeout=10**6)
            except asyncio.CancelledError:
                self.log.append(f"task {name} cancelled")
                if self.chance.random() < 0.5:
                    raise
            except ZeroDivisionError:
                self.log.append(f"task {name} saw an error")
            self.act()

    def future(self, name: str) -> None:
        future = self.loop.create_future()
        future.add_done_callback(lambda _: self.callback(f"of future {name}"))
        self.futures.append(future)

    def resolve(self, name: str) -> None:
        pending = [future for future in self.futures if not future.done()]
        if pending:
            future = self.chance.choice(pending)
            kind = self.chance.randrange(4)
            if kind == 0:
                future.cancel()
            elif kind == 1:
                future.set_exception(ZeroDivisionError())
                future.exception()  # nobody else may be there to see it
            else:
                future.set_result(self.count)

    def cancel_task(self, name: str) -> None:
        if self.tasks:
            self.chance.choice(self.tasks).cancel()

    def fail(self, name: str) -> None:
        def failing() -> None:
            raise ValueError(name)

        self.handles.append(self.loop.call_soon(failing))


def run_program(loop: asyncio.AbstractEventLoop, seed: int) -> list[str]:
    program = Program(loop, seed)
    loop.set_exception_handler(lambda _, context: program.log.append(f"told {context.get('exception')!r}"))
    try:
        return program.run()
    finally:
        loop.close()


@pytest.mark.parametrize("seed", range(40))
def test_the_order_is_that_of_the_standard_loop(loop_factory: LoopFactory, seed: int) -> None:
    expected = run_program(asyncio.SelectorEventLoop(), seed)
    assert run_program(loop_factory(), seed) == expected
    assert len(expected) > STEPS / 4
