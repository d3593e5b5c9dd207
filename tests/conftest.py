"""What every test under tests/ can count on: it ends, and it can run programs as a user does."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LIMIT = 120.0
"""Seconds until a test is taken to hang. Far above what any needs: it is there so that a hang costs a run, not a day."""

_stderr: int | None = None

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure() -> None:
    # Taken here, before pytest puts its own file in the place of descriptor 2: who reads a hang's traceback wants to see it.
    global _stderr
    _stderr = os.dup(2)


@pytest.fixture(autouse=True)
def _ends(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the whole process, every thread's traceback shown, when a test hangs; a loop that hangs answers to nothing less."""
    marker = request.node.get_closest_marker("slow")
    limit = marker.kwargs.get("limit", LIMIT) if marker else LIMIT
    assert _stderr is not None
    faulthandler.dump_traceback_later(limit, exit=True, file=_stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """Run the interpreter under test in the test's own folder; return how it ended and what it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def run(*args: str, timeout: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path,
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
