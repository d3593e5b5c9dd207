"""Runs one class of CPython's asyncio tests inside the tested interpreter, with a loop of our choice in place.

This file is not imported by the runner: the tested interpreter executes it, in a process of its own for each class,
with nothing importable but its standard library, the loop and `placing`. It gets one request (JSON, in its only argument) and
writes what happens to the file named there, one JSON object a line, flushed at once: when the process hangs or dies, the
runner still knows how far it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import platform
import sys
import sysconfig
import traceback
import unittest
import warnings
from pathlib import Path
from typing import IO, Any

INSIDE = str(Path(__file__).resolve().parents[1] / "inside")
PACKAGE = "test.test_asyncio"


def main() -> None:
    request = json.loads(sys.argv[1])
    if request.get("path"):
        sys.path.insert(0, request["path"])
    sys.path.append(INSIDE)
    with open(request["out"], "w", encoding="utf-8") as out:
        if request["command"] == "list":
            say(out, event="python", version=version(), suite=has_suite(), loop=loop_version(request["loop"]))
            for module in request["modules"]:
                say(out, event="module", module=module, **list_module(module))
        else:
            # A class that takes too long says where it hangs and ends itself, also when its runner is gone by then. What
            # cannot even do that, the runner kills shortly after.
            faulthandler.enable()
            faulthandler.dump_traceback_later(request["limit"] * 0.9, exit=True)
            placing().place(request["loop"], base=True)
            with in_place(request["mark"]):
                run_class(out, request["module"], request["class"], request["tests"])
            faulthandler.cancel_dump_traceback_later()


def placing() -> Any:
    return importlib.import_module("placing")


def say(out: IO[str], **facts: object) -> None:
    out.write(json.dumps(facts) + "\n")
    out.flush()


def in_place(mark: str) -> contextlib.AbstractContextManager[None]:
    """What a run's mark puts in the place of asyncio's own (`modules.py`)."""
    if mark == "accelerated":
        import tepal

        return tepal.accelerated()
    if mark == "bio":
        use_own_session_objects()
    elif mark == "native":
        use_native_tasks()
    return contextlib.nullcontext()


def use_own_session_objects() -> None:
    """Let every context make sessions of a class that is not the `ssl` module's: no loop may pass beside it."""
    import ssl

    class OwnObject(ssl.SSLObject):
        pass

    ssl.SSLContext.sslobject_class = OwnObject


def use_native_tasks() -> None:
    """Let the tests of the interpreter's own classes of tasks and futures run on tepal's: asyncio has these names for them."""
    import tepal

    asyncio.tasks._CTask = tepal.Task  # type: ignore[attr-defined]
    asyncio.futures._CFuture = tepal.Future  # type: ignore[attr-defined]


# --- what is there -------------------------------------------------------------------------------------------------


def version() -> str:
    return platform.python_version() + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")


def has_suite() -> bool:
    """Many builds leave the test package out (distributions, slim images)."""
    try:
        importlib.import_module(PACKAGE)
    except ImportError:
        return False
    return True


def loop_version(loop: str) -> str | None:
    """What is tested, or None when it cannot be imported; the reason then stands on stderr."""
    if loop == "asyncio":
        return "asyncio " + version()
    try:
        module = importlib.import_module(loop)
    except ImportError:
        traceback.print_exc()
        return None
    return f"{loop} {getattr(module, '__version__', '')}".strip()


def list_module(module: str) -> dict[str, object]:
    """Name the classes of a test module and the tests of each."""
    name = f"{PACKAGE}.{module}"
    try:
        found = importlib.import_module(name)
    except unittest.SkipTest as skip:
        return {"skipped": str(skip)}
    except ModuleNotFoundError as missing:
        if missing.name == name:
            return {"skipped": "this Python has no such module"}
        return {"broken": traceback.format_exc()}
    except Exception:  # noqa: BLE001  whatever it is, the runner shows it and the other modules are listed
        return {"broken": traceback.format_exc()}
    names = unittest.defaultTestLoader.getTestCaseNames
    cases = {
        title: item
        for title, item in vars(found).items()
        if isinstance(item, type) and issubclass(item, unittest.TestCase)
    }
    return {"classes": {title: list(tests) for title, case in cases.items() if (tests := names(case))}}


# --- the run -------------------------------------------------------------------------------------------------------


class Narrator(unittest.TestResult):
    """Tells the runner what happens, when it happens."""

    def __init__(self, out: IO[str]) -> None:
        super().__init__()
        self.out = out
        self.outcome = "passed"
        self.detail = ""
        self.loops_before = 0

    def startTest(self, test: unittest.TestCase) -> None:
        # What an earlier test left in cycles is collected now. Some tests count the warnings that come while they run.
        gc.collect()
        super().startTest(test)
        self.outcome, self.detail = "passed", ""
        say(self.out, event="start", test=name_of(test))

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        # Counted from stop to stop: IsolatedAsyncioTestCase makes its loop before it starts the test.
        loops = placing().Ledger.ours - self.loops_before
        self.loops_before = placing().Ledger.ours
        say(self.out, event="end", test=name_of(test), outcome=self.outcome, detail=self.detail, loops=loops)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        if isinstance(test, unittest.TestCase):
            self.fail(test, err)
        else:  # setUpModule, setUpClass and their teardowns: unittest hands over a placeholder
            say(self.out, event="fixture", test=str(test), detail=self._exc_info_to_string(err, test))

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.fail(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.fail(subtest, err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        if not isinstance(test, unittest.TestCase):
            say(self.out, event="fixture-skip", test=str(test), detail=reason)
        elif self.outcome == "passed":
            self.outcome, self.detail = "skipped", reason

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self.outcome, self.detail = "failed", "passed although it is marked as an expected failure"

    def fail(self, test: unittest.TestCase, err: Any) -> None:
        self.outcome = "failed"
        self.detail += self._exc_info_to_string(err, test)  # type: ignore[attr-defined]


def name_of(test: unittest.TestCase) -> str:
    return test.id().rpartition(".")[2]


def run_class(out: IO[str], module: str, title: str, tests: list[str]) -> None:
    if not sys.warnoptions:
        warnings.simplefilter("default")  # as unittest's own runner does
    case = getattr(importlib.import_module(module), title)
    gc.freeze()  # what is there before the first test: a collection before each has little to walk
    suite = unittest.TestSuite(case(test) for test in tests)
    suite.run(Narrator(out))
    say(out, event="done", ours=placing().Ledger.ours, standard=placing().Ledger.standard, pid=os.getpid())


if __name__ == "__main__":
    main()
