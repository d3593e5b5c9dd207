"""The runner of other people's suites tells apart every way a test can end: one that took a hang for a success would stay green."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.exclusions import Exclusion, matches, read
from conformance.foreign import Plan, run_suite
from conformance.interpreters import Interpreter
from conformance.suites import OURS, SUITES, Suite
from conformance.verdicts import PythonReport

ROOT = Path(__file__).resolve().parent.parent

ENDS = """
import asyncio, os, signal, threading
import pytest

def test_passes():
    async def main():
        return type(asyncio.get_running_loop()).__module__
    assert asyncio.run(main()) == {module!r}

    ran.append(1)

ran = []

def test_fails():
    assert False, "as it should"

def test_fails_behind_another():
    loop = asyncio.new_event_loop()
    loop.close()
    assert not (ran and type(loop).__module__ == "tepal")

def test_skips():
    pytest.skip("as it should")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False

@pytest.mark.xfail(strict=True)
def test_wrongly_expected_to_fail():
    pass

@pytest.fixture
def broken():
    raise ValueError("as it should")

def test_is_not_set_up(broken):
    pass

def test_fails_on_tepal_only():
    loop = asyncio.new_event_loop()
    loop.close()
    assert type(loop).__module__ != "tepal"

def test_hangs():
    threading.Event().wait()

def test_dies():
    os.kill(os.getpid(), signal.SIGSEGV)

def test_leaves():
    os._exit(0)

def test_excluded():
    assert False

def test_wrongly_excluded():
    pass

@pytest.mark.parametrize("value", ["a", "b"])
def test_behind_them_all(value):
    pass
"""


def run(tmp_path: Path, loop: str, text: str) -> PythonReport:
    (tmp_path / "test_ends.py").write_text(text)
    interpreter = Interpreter(sys.executable, platform.python_version(), sys.executable)
    suite = Suite("sample", "a sample", arguments=OURS, limit=5.0)
    entries = [Exclusion(("test_ends.py::test_*excluded",), "as it should", read_date())]
    return run_suite(interpreter, Plan(suite, loop, tmp_path, exclusions=entries))


def read_date() -> object:
    return read(SUITES["uvloop"].exclusions)[0].date


@pytest.mark.slow(120)
def test_each_end_is_told_apart(tmp_path: Path) -> None:
    report = run(tmp_path, "tepal", ENDS.format(module="tepal"))
    verdicts = {outcome.test.partition("::")[2]: outcome for outcome in report.outcomes()}
    assert {test: outcome.kind for test, outcome in verdicts.items()} == {
        "test_passes": "passed",
        "test_fails": "known",
        "test_fails_behind_another": "unsteady",
        "test_skips": "skipped",
        "test_expected_to_fail": "skipped",
        "test_wrongly_expected_to_fail": "known",
        "test_is_not_set_up": "known",
        "test_fails_on_tepal_only": "failed",
        "test_hangs": "known",
        "test_dies": "known",
        "test_leaves": "known",
        "test_excluded": "excluded",
        "test_wrongly_excluded": "excluded",
        "test_behind_them_all[a]": "passed",
        "test_behind_them_all[b]": "passed",
    }
    assert verdicts["test_skips"].detail == "Skipped: as it should"
    for test, words in {"hangs": "exited with 1", "dies": "SIGSEGV", "leaves": "ended in this test"}.items():
        assert words in verdicts[f"test_{test}"].detail
    assert report.stale == ["test_ends.py::test_wrongly_excluded"]
    assert [module.ours for module in report.modules] == [3]


@pytest.mark.slow(60)
def test_a_suite_that_never_met_the_loop_does_not_pass(tmp_path: Path) -> None:
    report = run(tmp_path, "tepal", "def test_nothing(): pass")
    assert [outcome.kind for outcome in report.outcomes()] == ["passed", "failed"]


@pytest.mark.slow(60)
@pytest.mark.parametrize("loop", ["tepal", "asyncio"])
def test_a_file_that_cannot_be_imported_does_not_pass(tmp_path: Path, loop: str) -> None:
    report = run(tmp_path, loop, "import nothing_of_the_kind")
    assert [outcome.kind for outcome in report.outcomes()] == ["failed"]


@pytest.mark.slow(30)
def test_a_runner_that_is_ended_takes_its_processes_along(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    program = (
        "import sys; from conformance import processes; processes.end_with_children();"
        "processes.talk(lambda events: ['sh', '-c', 'echo $$ > ' + sys.argv[1] + '; exec sleep 1000'], 1000)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(told)], cwd=ROOT) as runner:
        child = int(told.read_text())
        runner.terminate()
        assert runner.wait() == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_only_stars_are_special_in_an_id() -> None:
    assert matches("a.py::test[x-1]", "a.py::test[*]")
    assert not matches("a.py::testx", "a.py::test[x]")
    assert not matches("a.py::test", "a.py::tes")


def test_each_suite_is_whole() -> None:
    for suite in SUITES.values():
        assert suite.requirements.exists()
        assert not suite.source or suite.version
        if suite.exclusions.exists():
            assert read(suite.exclusions)
