"""The programs under test as child processes: pinned, clocked from outside, ended with us.

A process's own processor clock can be read by its parent without the process noticing. So the servers carry no
instrument, every server is measured in the same way (the Rust floor too), and time in helper threads is counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from benches.loops import ROOT
from benches.model import MeasureError, Metrics

_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
#: The programs under test have one core to themselves, the load comes from another.
TEST_CORE = _CORES[-1] if len(_CORES) > 1 else None
LOAD_CORE = _CORES[0] if len(_CORES) > 1 else None
_PATIENCE = 60.0
_MOMENT = 0.5


def file_limit() -> int:
    """How many descriptors our children may have: as many as the system grants, once this was asked."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def raise_priority() -> None:
    """Puts us and our children before other work on this machine, where we may.

    Processor time leaves out what others get, but not what their visits do to our caches; requests per second leave out
    nothing.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


class Child:
    """A process with a line-wise conversation, killed at the end of its block."""

    def __init__(self, command: list[str], core: int | None) -> None:
        self._name = " ".join(Path(word).name if word.startswith("/") else word for word in command)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with pinned(core):
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, by the kernel's own nanosecond count."""
        # What clock_getcpuclockid(3) computes; Python has no name for it.
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory_bytes(self) -> int:
        """Its proportional set size: pages shared with other processes count by their share."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise MeasureError(f"{self._name}: the system does not say how much memory it has")

    def read_line(self) -> str:
        """The next line it says.

        Raises:
            MeasureError: It ended, or said nothing for a minute.
        """
        stdout = self._process.stdout
        assert stdout is not None
        # Our lines are few and awaited one at a time, so the reader's buffer is empty whenever we select.
        if not select.select([stdout], [], [], _PATIENCE)[0]:
            raise MeasureError(f"{self._name}: silent for {_PATIENCE:.0f} s")
        line = stdout.readline().decode()
        if not line:
            self._process.wait(_PATIENCE)
            raise MeasureError(f"{self._name}: {self._last_words()}")
        return line.strip()

    def read_metrics(self) -> Metrics:
        """The next line, which is JSON of numbers."""
        return cast("Metrics", json.loads(self.read_line()))

    def write_line(self) -> None:
        """Says "go on"."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):  # The next read_line says what happened.
            stdin.write(b"\n")
            stdin.flush()

    def ended(self) -> str | None:
        """What it said last, if it has ended, with a moment's patience for one that is about to."""
        try:
            self._process.wait(_MOMENT)
        except subprocess.TimeoutExpired:
            return None
        return f"{self._name}: {self._last_words()}"

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {self._process.returncode}"


def python(module: str, *words: str, core: int | None) -> Child:
    """Runs a module of the benches with the interpreter that runs us."""
    return Child([sys.executable, "-m", module, *words], core)


def _environment() -> dict[str, str]:
    # What the caller has set for debugging must not reach the programs under test.
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Children inherit their parent's cores, so a child is pinned before its first instruction."""
    if core is None:
        yield
        return
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, _CORES)
