"""A plugin of pytest's: puts the loop in place before a suite is imported, and tells the runner what happens when it happens.

The tested interpreter loads it with `-p narrating`. Its request (JSON) is in the environment: where to write, which loop, the
tests to leave out or to run alone, the seconds a test may take. It writes one JSON object a line, flushed at once: when the process
hangs or dies, the runner still knows how far it came, which a report written at the end would not tell.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
from typing import Any

import placing
import pytest

REQUEST: dict[str, Any] = json.loads(os.environ["CONFORMANCE"])
OUT = open(REQUEST["out"], "w", encoding="utf-8")  # noqa: SIM115  for as long as the process lives
OWNER = os.getpid()

# Pytest takes the standard streams away while a test runs; a test that hangs says where on the real one.
STDERR = os.fdopen(os.dup(2), "w")
placing.place(REQUEST["loop"])


def say(**facts: object) -> None:
    if os.getpid() == OWNER:  # tests fork, and their children may well come to the end of a session
        OUT.write(json.dumps(facts) + "\n")
        OUT.flush()


def watch(seconds: float = 120) -> None:
    """From here on there is so much time. What takes longer ends the process, also when its runner is gone by then."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)


watch()


class Account:
    """The test that runs, as far as it came."""

    outcome = "passed"
    detail = ""
    loops = 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is excluded, or all but what is asked for."""
    excluded = [re.compile(pattern) for pattern in REQUEST["exclude"]]
    only = None if REQUEST["only"] is None else set(REQUEST["only"])
    chosen, left_out = [], []
    for item in items:
        if only is not None:
            wanted = item.nodeid in only
        else:
            wanted = not any(pattern.fullmatch(item.nodeid) for pattern in excluded)
            if not wanted:
                say(event="excluded", test=item.nodeid)
        wanted = wanted and REQUEST["match"] in item.nodeid
        (chosen if wanted else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = chosen


def pytest_collection_finish(session: pytest.Session) -> None:
    for item in session.items:
        say(event="collected", test=item.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        say(event="broken", where=report.nodeid, detail=str(report.longrepr))
    elif report.skipped:
        say(event="module-skip", where=report.nodeid, detail=reason(report))


def pytest_runtest_logstart(nodeid: str) -> None:
    Account.outcome, Account.detail, Account.loops = "passed", "", placing.Ledger.ours
    watch(REQUEST["limit"])
    say(event="start", test=nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take in the report of a phase: an error anywhere is a failure, an expected one did not pass."""
    if report.failed:
        Account.outcome = "failed"
        Account.detail += f"{report.longreprtext}\n"
        for title, text in report.sections:
            Account.detail += f"--- {title}\n{text[-2000:]}\n"
    elif report.skipped and Account.outcome == "passed":
        Account.outcome = "skipped"
        Account.detail = getattr(report, "wasxfail", "") or reason(report)


def pytest_runtest_logfinish(nodeid: str) -> None:
    loops = placing.Ledger.ours - Account.loops
    say(event="end", test=nodeid, outcome=Account.outcome, detail=Account.detail, loops=loops)


def pytest_internalerror(excrepr: object) -> None:
    say(event="broken", where="(pytest)", detail=str(excrepr))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    watch()
    say(event="done", ours=placing.Ledger.ours, standard=placing.Ledger.standard)


def reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
