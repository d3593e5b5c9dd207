"""add_signal_handler and remove_signal_handler: signals as callbacks of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from .support import LoopFactory, Run, eventually
from .versions import asyncio_has_it_since, is_asyncio

SIGNALS = [
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGCHLD,
    signal.SIGWINCH,
]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Fail the test that leaves a handler or a descriptor with the interpreter."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert signal.set_wakeup_fd(-1) == -1
    left = {number.name for number in SIGNALS if signal.getsignal(number) != before[number]}
    for number in SIGNALS:
        signal.signal(number, before[number])
    assert not left


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_handler_is_called_with_its_arguments(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[Any] = []
        loop.add_signal_handler(signal.SIGUSR1, lambda *args: seen.append(args), 1, "two")
        kill(signal.SIGUSR1)
        assert not seen  # it is a job of the loop, whatever the interpreter is doing
        await eventually(lambda: seen)
        assert seen == [(1, "two")]
        kill(signal.SIGUSR1)
        await eventually(lambda: len(seen) == 2)

    run(main)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_every_signal_that_can_be_caught(run: Run, number: signal.Signals) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        loop.add_signal_handler(number, seen.append, number)
        kill(number)
        await eventually(lambda: seen)
        assert loop.remove_signal_handler(number)
        expected = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        assert signal.getsignal(number) == expected
        assert not loop.remove_signal_handler(number)

    before = signal.getsignal(number)
    try:
        run(main)
    finally:
        signal.signal(number, before)


def test_a_signal_that_comes_before_the_loop_runs(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "early")
    kill(signal.SIGUSR1)
    loop.run_until_complete(asyncio.sleep(0.02))
    assert seen == ["early"]


def test_a_signal_that_comes_between_two_runs(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "between")
    loop.run_until_complete(asyncio.sleep(0))
    kill(signal.SIGUSR1)
    loop.run_until_complete(asyncio.sleep(0.02))
    assert seen == ["between"]


def test_a_waiting_loop_wakes_up(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, came.set)
        thread = threading.Timer(0.02, kill, [signal.SIGUSR1])
        thread.start()
        await asyncio.wait_for(came.wait(), 5)
        thread.join()

    run(main)


def test_several_signals_at_once_all_arrive(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            loop.add_signal_handler(number, seen.append, number)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            kill(number)
        await eventually(lambda: len(seen) >= 3)
        assert sorted(seen) == sorted([signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])

    run(main)


def test_handlers_run_in_the_context_of_their_adding(run: Run) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        def handler() -> None:
            seen.append(variable.get())
            variable.set("changed by the handler")

        variable.set("set before")
        loop.add_signal_handler(signal.SIGUSR1, handler)
        variable.set("set after")
        kill(signal.SIGUSR1)
        await eventually(lambda: seen)
        assert seen == ["set before"]
        assert variable.get() == "set after"

    run(main)


def test_the_last_handler_counts(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
        kill(signal.SIGUSR1)
        await eventually(lambda: seen)
        assert seen == ["second"]

    run(main)


def test_a_removed_handler_is_not_called(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        loop.add_signal_handler(signal.SIGWINCH, seen.append, "removed")
        kill(signal.SIGWINCH)
        assert loop.remove_signal_handler(signal.SIGWINCH)
        await asyncio.sleep(0.02)
        assert not seen

    run(main)


def test_a_handler_that_removes_itself(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[bool] = []
        loop.add_signal_handler(signal.SIGUSR1, lambda: seen.append(loop.remove_signal_handler(signal.SIGUSR1)))
        kill(signal.SIGUSR1)
        await eventually(lambda: seen)
        assert seen == [True]
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL

    run(main)


def test_a_handler_that_raises(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _loop, context: reports.append(context))

        def handler() -> None:
            raise LookupError("in the handler")

        loop.add_signal_handler(signal.SIGUSR1, handler)
        for count in (1, 2):
            kill(signal.SIGUSR1)
            await eventually(lambda count=count: len(reports) == count)
        assert str(reports[0]["exception"]) == "in the handler"
        assert "Exception in callback" in reports[0]["message"]
        reports.clear()

    run(main)


def test_the_handlers_have_asyncios_shape(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        assert signal.SIGWINCH not in loop._signal_handlers

        def handler(*_args: object) -> None: ...

        loop.add_signal_handler(signal.SIGWINCH, handler, 1)
        handle = loop._signal_handlers[signal.SIGWINCH]
        assert isinstance(handle, asyncio.Handle)
        assert handle._callback is handler
        assert tuple(handle._args) == (1,)
        loop.remove_signal_handler(signal.SIGWINCH)
        assert not loop._signal_handlers.get(signal.SIGWINCH)

    run(main)


def test_a_cancelled_handler_is_removed_when_its_signal_comes(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        seen: list[str] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "cancelled")
        loop._signal_handlers[signal.SIGUSR1].cancel()
        kill(signal.SIGUSR1)
        await eventually(lambda: signal.SIGUSR1 not in loop._signal_handlers)
        assert not seen
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL

    run(main)


def test_what_is_no_signal(loop: asyncio.AbstractEventLoop) -> None:
    for wrong in ("SIGINT", 1.5, None):
        for call in (lambda sig: loop.add_signal_handler(sig, print), loop.remove_signal_handler):
            with pytest.raises(TypeError, match="sig must be an int, not"):
                call(wrong)  # type: ignore[no-untyped-call, arg-type]
    for wrong in (0, -1, signal.NSIG + 1):
        for call in (lambda sig: loop.add_signal_handler(sig, print), loop.remove_signal_handler):
            with pytest.raises(ValueError, match="invalid signal number"):
                call(wrong)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
def test_what_cannot_be_caught(loop: Any, number: signal.Signals) -> None:
    with pytest.raises(RuntimeError, match=f"sig {number:d} cannot be caught|sig {number} cannot be caught"):
        loop.add_signal_handler(number, print)
    assert number not in loop._signal_handlers
    assert signal.set_wakeup_fd(-1) == -1
    assert not loop.remove_signal_handler(number)


def test_coroutines_are_refused(loop: Any) -> None:
    async def handler() -> None: ...

    coroutine = handler()
    for wrong in (handler, coroutine):
        with pytest.raises(TypeError, match=r"coroutines cannot be used with add_signal_handler\(\)"):
            loop.add_signal_handler(signal.SIGUSR1, wrong)
    coroutine.close()


def test_a_closed_loop_refuses(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_signal_handler(signal.SIGUSR1, print)
    assert not loop.remove_signal_handler(signal.SIGUSR1)


def test_another_thread_is_refused(loop_factory: LoopFactory) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        loop: Any = loop_factory()
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as error:
            errors.append(error)
        assert not loop._signal_handlers
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (error,) = errors
    assert "main thread" in str(error)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_closing_the_loop_removes_the_handlers(loop: Any) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    loop.close()
    assert not loop._signal_handlers
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_the_interpreter_is_told_only_while_there_are_handlers(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.remove_signal_handler(signal.SIGUSR1)
    given = signal.set_wakeup_fd(-1)
    assert given != -1
    signal.set_wakeup_fd(given)
    loop.remove_signal_handler(signal.SIGUSR2)
    assert signal.set_wakeup_fd(-1) == -1
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert signal.set_wakeup_fd(-1) != -1
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_loop_that_ends_leaves_the_signals_of_another(loop_factory: LoopFactory) -> None:
    first, second = loop_factory(), loop_factory()
    seen: list[str] = []
    first.add_signal_handler(signal.SIGUSR1, seen.append, "first")
    second.add_signal_handler(signal.SIGUSR2, seen.append, "second")
    first.close()
    kill(signal.SIGUSR2)
    second.run_until_complete(asyncio.sleep(0.02))
    # asyncio takes the descriptor from whoever has it.
    assert seen == ([] if is_asyncio(loop_factory) else ["second"])
    second.close()


def test_a_child_does_not_write_to_its_parents_loop(run: Run, loop_factory: LoopFactory, ledger: Any) -> None:
    asyncio_has_it_since(loop_factory, 3, 12)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "of the child")
        child = os.fork()
        if child == 0:
            try:
                kill(signal.SIGUSR1)
            finally:
                os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
        await asyncio.sleep(0.02)
        assert not seen
        kill(signal.SIGUSR1)
        await eventually(lambda: seen)

    run(main)
    ledger.take_warnings(DeprecationWarning, "use of fork()")  # the threads are this suite's own


def test_a_runner_is_interrupted_while_there_are_handlers(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.call_later(0.01, kill, signal.SIGINT)
        await asyncio.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        run(main)


@pytest.mark.parametrize("react", ["stop", "call_soon", "raise"])
def test_a_signal_that_comes_while_no_line_of_python_runs(loop: asyncio.AbstractEventLoop, react: str) -> None:
    """It sets nothing but a flag in the interpreter, which the loop has to ask for before it sleeps."""

    def handle(_number: int, _frame: object) -> None:
        if react == "raise":
            raise KeyboardInterrupt
        loop.call_soon(loop.stop) if react == "call_soon" else loop.stop()

    old = signal.signal(signal.SIGUSR1, handle)
    try:
        # (os.kill looks for signals itself.)
        loop.call_soon(ctypes.CDLL(None).kill, os.getpid(), int(signal.SIGUSR1))
        guard = loop.call_later(5, loop.stop)
        with pytest.raises(KeyboardInterrupt) if react == "raise" else contextlib.nullcontext():
            loop.run_forever()
        assert loop.time() < guard.when()
        guard.cancel()
    finally:
        signal.signal(signal.SIGUSR1, old)
