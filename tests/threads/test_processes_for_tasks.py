"""Calls in other processes. (The functions are the standard library's: a worker must be able to import them.)

multiprocessing leaves a helper behind, a child of the process that used it, which other tests would find. So these run in a
process of their own, which the last test starts.
"""

from __future__ import annotations

import asyncio
import math
import operator
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

import tepal
from tepal import to_process

ALONE = "TEPAL_TESTS_PROCESSES"

alone = pytest.mark.skipif(
    ALONE not in os.environ, reason="run in a process of their own, by the last test of this file"
)


@alone
def test_a_function_runs_in_another_process() -> None:
    async def main() -> None:
        assert await to_process.run(math.factorial, 5) == 120
        first = await to_process.run(os.getpid)
        assert first != os.getpid()
        assert await to_process.run(os.getpid) == first, "the worker is kept"
        assert to_process.current_default_process_limiter().total_tokens == os.cpu_count()

    tepal.run(main)


@alone
def test_what_it_raises_arrives() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await to_process.run(operator.truediv, 1, 0)
        with pytest.raises((pickle.PicklingError, AttributeError)):
            await to_process.run(lambda: 1)
        with pytest.raises(TypeError, match="cannot be sent back"):
            await to_process.run(open, os.devnull)
        assert to_process.current_default_process_limiter().borrowed_tokens == 0

    tepal.run(main)


@alone
def test_a_process_that_ends_is_told_and_replaced() -> None:
    async def main() -> None:
        with pytest.raises(tepal.BrokenResourceError, match="exit code 3"):
            await to_process.run(os._exit, 3)
        assert await to_process.run(abs, -1) == 1
        idle = await to_process.run(os.getpid)
        os.kill(idle, signal.SIGKILL)
        await tepal.sleep(0.1)
        assert await to_process.run(abs, -2) == 2

    tepal.run(main)


@alone
@pytest.mark.parametrize("kind", ["scope", "request"])
def test_a_cancelled_task_may_kill_it(kind: str) -> None:
    async def main() -> None:
        await to_process.run(abs, -1)
        begun = time.monotonic()
        if kind == "scope":
            with tepal.move_on_after(0.05) as scope:
                await to_process.run(time.sleep, 100, kill_on_cancel=True)
            assert scope.cancelled_caught
        else:
            task = asyncio.create_task(to_process.run(time.sleep, 100, kill_on_cancel=True))
            await tepal.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert time.monotonic() - begun < 20
        assert to_process.current_default_process_limiter().borrowed_tokens == 0
        assert await to_process.run(abs, -3) == 3

    tepal.run(main)


@alone
def test_or_wait_for_it() -> None:
    async def main() -> None:
        with tepal.move_on_after(0.01) as scope:
            await to_process.run(time.sleep, 0.1)
        assert scope.cancel_called

    tepal.run(main)


def test_idle_workers_end_with_run() -> None:
    program = """
import os, time, tepal
from tepal import to_process
worker = tepal.run(to_process.run, os.getpid)
try:
    os.kill(worker, 0)
except ProcessLookupError:
    print(worker)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    worker = int(ended.stdout)
    assert ended.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


@pytest.mark.skipif(ALONE in os.environ, reason="it is the process of their own")
def test_the_others_in_a_process_of_their_own() -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    ended = subprocess.run(
        words, env={**os.environ, ALONE: "1"}, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout
