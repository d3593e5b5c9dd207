"""Threads that wake a loop, stop it, cancel its handles and see it closed under their hands.

With the GIL these tests prove that no lock is held while Python runs and that no wake-up is lost; that nothing races in
memory, only a free-threaded interpreter can show.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import tepal

Together = Callable[..., None]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = tepal.new_event_loop()
    yield loop
    loop.close()


def test_no_wake_up_is_lost_between_two_polls(loop: asyncio.AbstractEventLoop) -> None:
    # Each call is made when the loop is about to sleep or sleeps; a lost one would hang.
    rounds, woken = 2000, threading.Semaphore(0)

    def work() -> None:
        for _ in range(rounds):
            loop.call_soon_threadsafe(woken.release)
            assert woken.acquire(timeout=10)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    thread.start()
    loop.run_forever()
    thread.join()


def test_two_loops_that_wake_each_other(together: Together) -> None:
    loops = [tepal.new_event_loop(), tepal.new_event_loop()]
    left = 2000

    def ball(here: int) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            for loop in loops:
                loop.call_soon_threadsafe(loop.stop)
        else:
            loops[1 - here].call_soon_threadsafe(ball, 1 - here)

    loops[0].call_soon_threadsafe(ball, 0)
    together(loops[0].run_forever, loops[1].run_forever)
    assert left <= 0
    for loop in loops:
        loop.close()


def test_cancelling_from_other_threads(loop: asyncio.AbstractEventLoop, together: Together) -> None:
    ran: list[int] = []
    done = threading.Event()

    def work() -> None:
        for number in range(1000):
            handle = loop.call_soon_threadsafe(ran.append, number)
            if number % 2:
                handle.cancel()
        done.set()

    def finish() -> None:
        done.wait()
        loop.call_soon_threadsafe(loop.stop)

    together(loop.run_forever, work, finish)
    assert {number for number in ran if number % 2 == 0} == set(range(0, 1000, 2))
    assert len(ran) == len(set(ran))


def test_closing_while_others_call(together: Together) -> None:
    for _ in range(20):
        loop = tepal.new_event_loop()
        refused = threading.Event()

        def call(loop: asyncio.AbstractEventLoop = loop, refused: threading.Event = refused) -> None:
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError as error:
                assert str(error) == "Event loop is closed"
                refused.set()

        def run(loop: asyncio.AbstractEventLoop = loop) -> None:
            loop.run_until_complete(asyncio.sleep(0.001))
            loop.close()

        together(call, call, run)
        assert refused.is_set()


def test_a_loop_dropped_by_another_thread() -> None:
    before = len(os.listdir("/proc/self/fd"))
    box = [tepal.new_event_loop()]
    box[0].run_until_complete(asyncio.sleep(0))
    box[0].call_later(1000, print)
    box[0].close()
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    assert len(os.listdir("/proc/self/fd")) == before


def test_handles_dropped_by_another_thread(loop: asyncio.AbstractEventLoop) -> None:
    handles = [loop.call_later(1000, print, object()) for _ in range(1000)]
    for handle in handles[::2]:
        handle.cancel()
    del handle
    thread = threading.Thread(target=handles.clear)
    thread.start()
    thread.join()
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_the_loop_sleeps_without_the_interpreter(loop: asyncio.AbstractEventLoop) -> None:
    # While the loop waits, this thread gets to count; were the interpreter held, it would stand still.
    counted = 0

    def count() -> None:
        nonlocal counted
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            counted += 1
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=count)
    thread.start()
    loop.call_later(60, print)
    loop.run_forever()
    thread.join()
    assert counted > 1000


def test_an_executor_under_load(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            results = await asyncio.gather(*(loop.run_in_executor(pool, pow, number, 2) for number in range(2000)))
        assert results == [number**2 for number in range(2000)]

    loop.run_until_complete(main())


def test_tasks_from_other_threads(loop: asyncio.AbstractEventLoop, together: Together) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    ready, finished = threading.Event(), threading.Barrier(5)

    def work() -> None:
        ready.wait()
        for number in range(100):
            assert asyncio.run_coroutine_threadsafe(double(number), loop).result(10) == number * 2
        finished.wait()

    def finish() -> None:
        finished.wait()
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(ready.set)
    together(loop.run_forever, work, work, work, work, finish)


def test_stop_from_another_thread_is_seen_at_the_next_wake_up(loop: asyncio.AbstractEventLoop) -> None:
    # As in asyncio, stop() alone does not wake a sleeping loop; the wake-up does, and then the loop ends.
    running = threading.Event()

    def work() -> None:
        running.wait()
        loop.stop()
        loop.call_soon_threadsafe(int)

    thread = threading.Thread(target=work)
    thread.start()
    loop.call_soon(running.set)
    loop.run_forever()
    thread.join()
