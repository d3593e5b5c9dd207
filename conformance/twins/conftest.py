"""The two loops under test, and the ledger that every test leaves balanced.

A test asks for `run` or `loop` and is run twice: on asyncio's loop and on tepal's. A missing tepal is an error, never a skip.
What asyncio does is the expectation, so a body that fails on asyncio is a wrong test.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from types import FrameType
from typing import Any

import pytest

import tepal

from .tls_support import Contexts

LIMIT = 20
"""Seconds after which a test is taken to hang."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many of the programs made by chance are run (test_random_tasks.py), and how slow the machine is."""
    parser.addoption("--programs", type=int, default=500, help="programs of tasks made by chance (default: 500)")
    parser.addoption(
        "--patience", type=float, default=1, help="how many times as long a test may take (under valgrind, say)"
    )


class Hung(KeyboardInterrupt):
    """Raised in the main thread by the alarm; a KeyboardInterrupt, for those alone leave a callback."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Turn a hang into a failure with a traceback, and a hang in native code into the end of the process."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hung(f"no end after {LIMIT} s")

    limit = getattr(item.get_closest_marker("slow"), "kwargs", {}).get("limit", LIMIT) * item.config.getoption(
        "--patience"
    )
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    faulthandler.dump_traceback_later(limit + 40, exit=True)
    try:
        return (yield)
    except KeyboardInterrupt as error:
        _fail_unless_ctrl_c(error)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Keep an interrupt that a test has made, and a loop raises too late, from ending the whole run."""
    try:
        return (yield)
    except KeyboardInterrupt as error:
        _fail_unless_ctrl_c(error)
        raise


def _fail_unless_ctrl_c(error: KeyboardInterrupt) -> None:
    if isinstance(error, Hung):
        raise TimeoutError(str(error)) from error
    if error.args:  # the interpreter's own carries nothing
        raise AssertionError(f"{error!r} came out of the test") from error


def pytest_collection_finish() -> None:
    """Take the modules out of the collector's sight: it runs after every test, and they are nobody's litter."""
    gc.collect()
    gc.freeze()


class Ledger:
    """What a test has left behind: asyncio's log records, warnings, exceptions that nobody could raise."""

    def __init__(self) -> None:
        self.logs: list[logging.LogRecord] = []
        self.warnings: list[warnings.WarningMessage] = []
        self.unraisable: list[str] = []

    def take_logs(self, text: str = "") -> list[logging.LogRecord]:
        """Hand over, and so expect, the records of asyncio's logger whose message holds `text`."""
        found = [record for record in self.logs if text in record.getMessage()]
        self.logs[:] = [record for record in self.logs if record not in found]
        return found

    def take_warnings(self, category: type[Warning], text: str = "") -> list[str]:
        """Hand over, and so expect, the warnings of a category whose text holds `text`."""
        gc.collect()
        found = [w for w in self.warnings if issubclass(w.category, category) and text in str(w.message)]
        self.warnings[:] = [w for w in self.warnings if w not in found]
        return [str(w.message) for w in found]

    def take_unraisable(self, text: str = "") -> list[str]:
        """Hand over, and so expect, the unraisable exceptions that hold `text`."""
        found = [line for line in self.unraisable if text in line]
        self.unraisable[:] = [line for line in self.unraisable if text not in line]
        return found

    def balance(self) -> list[str]:
        """Say what nobody expected."""
        lines = [f"asyncio logged: {record.getMessage()}" for record in self.logs]
        lines += [f"warning: {w.category.__name__}: {w.message} ({w.filename}:{w.lineno})" for w in self.warnings]
        lines += [f"unraisable: {line}" for line in self.unraisable]
        return lines


class _Collecting(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _descriptors() -> dict[str, str]:
    names: dict[str, str] = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            names[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the descriptor of the listing itself
            continue
    return names


@pytest.fixture(autouse=True)
def ledger() -> Iterator[Ledger]:
    """Fail the test that leaks a descriptor, logs an error, warns or raises into the void without saying so."""
    ledger = Ledger()
    logger = logging.getLogger("asyncio")
    collecting = _Collecting(ledger.logs)
    hook, sys.unraisablehook = sys.unraisablehook, lambda info: ledger.unraisable.append(_unraisable(info))
    logger.addHandler(collecting)
    before = _descriptors()
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            ledger.warnings = seen
            yield ledger
            gc.collect()
    finally:
        sys.unraisablehook = hook
        logger.removeHandler(collecting)
    left = [f"descriptor {n} -> {name}" for n, name in _descriptors().items() if before.get(n) != name]
    if lines := ledger.balance() + left:
        pytest.fail("the ledger does not balance:\n" + "\n".join(lines), pytrace=False)


def _unraisable(info: sys.UnraisableHookArgs) -> str:
    return f"{info.err_msg or 'Exception ignored in'}: {info.object!r}: {info.exc_value!r}"


@pytest.fixture(params=["asyncio", "tepal"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loops of this test."""
    if request.param == "asyncio":
        return asyncio.SelectorEventLoop
    import tepal

    return tepal.new_event_loop


@pytest.fixture
def run(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Callable[..., Any]:
    """Run a coroutine function on a fresh loop, `run(main, debug=False)`, and return its result."""

    def run(main: Callable[[], Coroutine[Any, Any, Any]], *, debug: bool = False) -> Any:
        with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
            # A busy machine is not the subject: the test that wants "took too long" lowers this itself.
            runner.get_loop().slow_callback_duration = 60.0  # type: ignore[attr-defined]
            return runner.run(main())

    return run


@pytest.fixture
def loop(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[asyncio.AbstractEventLoop]:
    """A fresh loop that does not run yet; closed afterwards."""
    loop = loop_factory()
    loop.slow_callback_duration = 60.0  # type: ignore[attr-defined]
    try:
        yield loop
        assert not loop.is_running()
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


@pytest.fixture
def kit(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Any:
    """The module whose primitives, functions and streams go with the loop: asyncio or tepal."""
    return tepal if loop_factory is tepal.new_event_loop else asyncio


@pytest.fixture(params=["direct", "bio"])
def tls(request: pytest.FixtureRequest) -> Contexts:
    """Contexts that lead to one of tepal's TLS engines; asyncio has a single one and runs with both."""
    return Contexts(request.param)
