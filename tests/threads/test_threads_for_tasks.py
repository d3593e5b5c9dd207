"""Threads that tasks wait for, and what they do on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import time

import pytest

import tepal
from tepal import from_thread

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


def test_a_function_runs_in_a_thread() -> None:
    async def main() -> None:
        variable.set("task")

        def work(one: int, other: int) -> tuple[int, str, bool]:
            seen = variable.get()
            variable.set("thread")
            return one + other, seen, threading.current_thread() is threading.main_thread()

        assert await tepal.to_thread.run(work, 1, 2) == (3, "task", False)
        assert variable.get() == "task"
        with pytest.raises(KeyError):
            await tepal.to_thread.run({}.__getitem__, "missing")
        assert await tepal.to_thread(pow, 2, exp=3) == 8

    tepal.run(main)


def test_as_many_at_a_time_as_the_limiter_allows() -> None:
    async def main() -> None:
        lock = threading.Lock()
        running = most = 0

        def work() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.005)
            with lock:
                running -= 1

        limiter = tepal.CapacityLimiter(2)
        async with tepal.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(lambda: tepal.to_thread.run(work, limiter=limiter))
        assert most == 2
        assert limiter.borrowed_tokens == 0
        assert tepal.to_thread.current_default_thread_limiter().total_tokens == 40

    tepal.run(main)


def test_a_thread_runs_things_on_the_loop() -> None:
    async def main() -> None:
        loop_thread = threading.get_ident()

        async def double(number: int) -> int:
            await tepal.sleep(0)
            assert threading.get_ident() == loop_thread
            assert variable.get() == "thread"
            return 2 * number

        async def fails() -> None:
            raise KeyError

        def work() -> int:
            variable.set("thread")
            assert from_thread.run_sync(threading.get_ident) == loop_thread
            with pytest.raises(KeyError):
                from_thread.run(fails)
            with pytest.raises(KeyError):
                from_thread.run_sync({}.__getitem__, 1)
            from_thread.check_cancelled()
            return from_thread.run(double, 4)

        assert await tepal.to_thread.run(work) == 8
        for use in (lambda: from_thread.run(forever), lambda: from_thread.run_sync(int), from_thread.check_cancelled):
            with pytest.raises(RuntimeError, match="no thread of to_thread"):
                use()

    tepal.run(main)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("kind", ["scope", "request"])
def test_a_cancelled_task_waits_for_its_thread(kind: str) -> None:
    async def main() -> None:
        begun, release = threading.Event(), threading.Event()
        heard = []

        def work() -> str:
            begun.set()
            release.wait()
            try:
                from_thread.check_cancelled()
            except tepal.Cancelled:
                heard.append("thread")
            return "done"

        scope = tepal.CancelScope()

        async def body() -> None:
            with scope:
                heard.append(await tepal.to_thread.run(work))
                await tepal.sleep(0)
                heard.append("never")

        task = asyncio.create_task(body())
        while not begun.is_set():
            await tepal.sleep(0.001)
        if kind == "scope":
            scope.cancel()
        else:
            task.cancel()
        await tepal.sleep(0.01)
        assert not task.done()
        release.set()
        if kind == "scope":
            await task
            assert scope.cancelled_caught
        else:
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelling() == 1
        assert heard == ["thread", "done"]

    tepal.run(main)


def test_what_a_thread_runs_on_the_loop_is_cancelled_with_the_task() -> None:
    async def main() -> None:
        heard = []

        def work() -> None:
            try:
                from_thread.run(forever)
            except tepal.Cancelled:
                heard.append("thread")
                raise

        with tepal.move_on_after(0.02) as scope:
            await tepal.to_thread.run(work)
        assert heard == ["thread"]
        assert scope.cancel_called

    tepal.run(main)


@pytest.mark.parametrize("kind", ["scope", "request"])
def test_a_thread_may_be_abandoned(kind: str) -> None:
    async def main() -> None:
        release, told = threading.Event(), threading.Event()
        heard = []

        def work() -> None:
            release.wait()
            for use in (from_thread.check_cancelled, lambda: from_thread.run_sync(int)):
                try:
                    use()
                except tepal.Cancelled:
                    heard.append("thread")
            told.set()

        limiter = tepal.CapacityLimiter(1)

        async def body() -> None:
            await tepal.to_thread.run(work, abandon_on_cancel=True, limiter=limiter)

        if kind == "scope":
            with tepal.move_on_after(0.02) as scope:
                await body()
            assert scope.cancelled_caught
        else:
            task = asyncio.create_task(body())
            await tepal.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        # The thread holds its token until it ends.
        assert limiter.borrowed_tokens == 1
        release.set()
        while not told.is_set():
            await tepal.sleep(0.001)
        await tepal.sleep(0.01)
        assert limiter.borrowed_tokens == 0
        assert heard == ["thread", "thread"]

    tepal.run(main)


@pytest.mark.parametrize("abandon", [True, False])
def test_a_thread_that_never_ends_does_not_hold_up_the_process(abandon: bool) -> None:
    program = f"""
import asyncio, threading, tepal
async def main():
    work = tepal.to_thread.run(threading.Event().wait, abandon_on_cancel={abandon})
    task = asyncio.create_task(work)
    await tepal.sleep(0.05)
    raise SystemExit(3)
tepal.run(main, grace=0.1)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 3, ended.stderr
    assert ("of to_thread.run() did not end within 0.1 seconds" in ended.stderr) is not abandon


def test_any_thread_comes_to_the_loop_by_a_portal() -> None:
    async def main() -> None:
        async def double(number: int) -> int:
            await tepal.sleep(0)
            return 2 * number

        async def fails() -> None:
            raise KeyError

        seen: list[object] = []

        def work(portal: tepal.Portal) -> None:
            seen.append(portal.run(double, 4))
            seen.append(portal.run_sync(threading.get_ident))
            seen.append(portal.start_soon(double, 5).result())
            with pytest.raises(KeyError):
                portal.run(fails)

        async with tepal.open_portal() as portal:
            thread = threading.Thread(target=work, args=(portal,))
            thread.start()
            with pytest.raises(RuntimeError, match="own thread"):
                portal.run(double, 1)
            while thread.is_alive():
                await tepal.sleep(0.001)
        assert seen == [8, threading.get_ident(), 10]
        late = portal.start_soon(double, 1)
        await tepal.sleep(0)
        with pytest.raises(RuntimeError, match="portal is closed"):
            late.result(timeout=5)

    tepal.run(main)


def test_a_portal_whose_block_fails_ends_what_runs() -> None:
    async def main() -> None:
        outcome = None
        with pytest.raises(ExceptionGroup):
            async with tepal.open_portal() as portal:
                outcome = portal.start_soon(forever)
                await tepal.sleep(0.01)
                raise KeyError
        assert outcome is not None
        assert isinstance(outcome.exception(timeout=5), tepal.Cancelled)

    tepal.run(main)
