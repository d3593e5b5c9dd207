"""run_in_executor, the default executor, and its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from typing import Any

import pytest

from .support import LoopFactory, Run
from .versions import asyncio_has_it_since


def test_a_function_runs_in_a_thread_and_its_result_comes_back(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(None, lambda a, b: (a + b, threading.current_thread()), 1, 2)
        assert isinstance(future, asyncio.Future)
        total, thread = await future
        assert total == 3
        assert thread is not threading.current_thread()
        assert thread.name.startswith("asyncio_")

    run(main)


def test_an_exception_comes_back(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().run_in_executor(None, lambda: 1 // 0)

    run(main)


def test_the_default_executor_is_made_once_and_kept(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        assert loop._default_executor is None
        await loop.run_in_executor(None, int)
        executor = loop._default_executor
        assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        await loop.run_in_executor(None, int)
        assert loop._default_executor is executor

    run(main)


def test_an_executor_of_ones_own(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="mine") as mine:
            thread = await loop.run_in_executor(mine, threading.current_thread)
            assert thread.name.startswith("mine")
            assert loop._default_executor is None

    run(main)


def test_set_default_executor(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
            loop.set_default_executor(object())  # type: ignore[arg-type]
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(thread_name_prefix="default"))
        thread = await loop.run_in_executor(None, threading.current_thread)
        assert thread.name.startswith("default")

    run(main)


def test_contexts_do_not_go_along(run: Run) -> None:
    variable = contextvars.ContextVar("variable", default="outside")

    async def main() -> None:
        variable.set("inside")
        assert await asyncio.get_running_loop().run_in_executor(None, variable.get) == "outside"
        assert await asyncio.to_thread(variable.get) == "inside"

    run(main)


def test_cancelling_does_not_stop_the_thread_and_reports_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            go_on.wait(5)
            ended.set()

        future = loop.run_in_executor(None, work)
        await asyncio.to_thread(begun.wait, 5)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        go_on.set()
        await loop.shutdown_default_executor()
        assert ended.is_set()

    run(main)


def test_a_call_that_has_not_begun_is_cancelled(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        go_on = threading.Event()
        called: list[int] = []
        with concurrent.futures.ThreadPoolExecutor(1) as one:
            first = loop.run_in_executor(one, go_on.wait, 5)
            second = loop.run_in_executor(one, called.append, 1)
            second.cancel()
            await asyncio.sleep(0)  # the thread pool hears of it in a callback
            go_on.set()
            await first
        assert not called

    run(main)


def test_a_result_after_the_loop_was_closed_is_dropped(loop: asyncio.AbstractEventLoop) -> None:
    go_on = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as one:
        loop.run_in_executor(one, go_on.wait, 5)
        loop.close()
        go_on.set()


def test_a_closed_loop_refuses(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_in_executor(None, int)


@pytest.mark.parametrize("function", [None, "text", test_a_closed_loop_refuses], ids=["None", "text", "function"])
def test_debug_mode_looks_at_the_function(loop: asyncio.AbstractEventLoop, function: Any) -> None:
    async def coroutine_function() -> None: ...

    loop.set_debug(True)
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.run_in_executor(None, coroutine_function)
    if not callable(function):
        with pytest.raises(TypeError, match="a callable object was expected"):
            loop.run_in_executor(None, function)


def test_shutdown_waits_for_what_runs(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended = threading.Event()
        go_on = threading.Event()

        def work() -> None:
            go_on.wait(5)
            ended.set()

        future = loop.run_in_executor(None, work)
        loop.call_later(0.01, go_on.set)
        await loop.shutdown_default_executor()
        assert ended.is_set()
        await future

    run(main)


def test_after_the_shutdown_nothing_is_taken(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)
        with concurrent.futures.ThreadPoolExecutor() as mine:
            assert await loop.run_in_executor(mine, int) == 0
        await loop.shutdown_default_executor()

    run(main)


def test_shutdown_without_an_executor(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)

    run(main)


def test_an_impatient_shutdown(run: Run, loop_factory: LoopFactory, ledger: Any) -> None:
    asyncio_has_it_since(loop_factory, 3, 12, 2)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        go_on = threading.Event()
        future = loop.run_in_executor(None, go_on.wait, 5)
        began = loop.time()
        await loop.shutdown_default_executor(timeout=0.02)
        assert loop.time() - began < 2
        go_on.set()
        await future

    run(main)
    (text,) = ledger.take_warnings(RuntimeWarning)
    assert text == "The executor did not finishing joining its threads within 0.02 seconds."


def test_an_error_in_the_shutdown_arrives(run: Run) -> None:
    class Broken(concurrent.futures.ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            raise LookupError("broken")

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_default_executor(Broken())
        with pytest.raises(LookupError, match="broken"):
            await loop.shutdown_default_executor()
        loop._default_executor = None

    run(main)


def test_many_threads_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(None, pow, number, 2) for number in range(200)]
        assert await asyncio.gather(*futures) == [number**2 for number in range(200)]

    run(main)
