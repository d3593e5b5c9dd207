"""The suites that pytest runs: where the tests of each come from and how its own people run them.

A suite lives in the folder of its name, with the pinned `requirements.txt` of its environment, `exclusions.toml` if something is
excluded, and its tests where they are ours. Tests of others come from the source distribution of the version that the requirements
pin, and are run against the installed package: only what `parts` names is taken out of the distribution.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOM = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Suite:
    """One suite."""

    name: str
    about: str
    """What it is, for the report."""
    source: str = ""
    """The distribution that carries the tests; empty when they are in the suite's own folder."""
    parts: tuple[str, ...] = ()
    """What is taken out of the distribution, files and folders."""
    tests: str = "."
    """The folder of the tests, in what was taken."""
    leave_out: str = ""
    """A folder among the tests that is not run."""
    arguments: tuple[str, ...] = ()
    """More words for pytest's command line."""
    limit: float = 60.0
    """Seconds for one test, on a machine that is not idle."""

    @property
    def folder(self) -> Path:
        return ROOM / self.name

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def exclusions(self) -> Path:
        return self.folder / "exclusions.toml"

    @property
    def version(self) -> str:
        """The pinned version of `source`.

        Raises:
            ValueError: The requirements do not pin it.
        """
        pin = re.search(rf"\b{self.source}(?:\[\w+\])?==([\w.]+)", self.requirements.read_text(encoding="utf-8"))
        if pin is None:
            raise ValueError(f"{self.requirements} does not pin {self.source}")
        return pin[1]


OURS = ("-c", "/dev/null", "-W", "error", "--import-mode=importlib")
"""For tests of our own: no configuration but this, and a warning is an error."""

SUITES = {
    suite.name: suite
    for suite in (
        # uvloop is not installed. Its Python half is taken along, and `overlay/` puts our loop where its compiled half was.
        Suite(
            "uvloop",
            "uvloop's own suite, its loop replaced",
            source="uvloop",
            parts=("tests", "uvloop/__init__.py", "uvloop/_testbase.py", "uvloop/_version.py"),
            tests="tests",
            arguments=("-c", "/dev/null"),
        ),
        Suite(
            "anyio",
            "anyio's suite, on its asyncio backend",
            source="anyio",
            parts=("tests", "pyproject.toml"),
            tests="tests",
            # Trio is another loop altogether; the tests marked so want the Internet.
            arguments=("-k", "not trio and not uvloop", "-m", "not network"),
        ),
        Suite(
            "aiohttp",
            "aiohttp's suite",
            source="aiohttp",
            parts=("tests", "pytest.ini"),
            tests="tests",
            # The options of their pytest.ini without those for coverage and for many processes: each file has its own.
            arguments=(
                "-o", "addopts=--strict-markers", "-m", "not dev_mode and not autobahn and not internal"),
        ),
        Suite(
            "uvicorn",
            "uvicorn's suite",
            source="uvicorn",
            parts=("tests", "pyproject.toml"),
            tests="tests",
            leave_out="benchmarks",  # they want a plugin of their own, and measure
            arguments=("-o", "addopts=--strict-markers"),
        ),
        Suite("websockets", "websockets' public client and server", arguments=OURS),
        Suite("httpx", "httpx's public client, against uvicorn", arguments=OURS),
        Suite("services", "clients of databases and of other services, against the real ones", arguments=OURS),
    )
}  # fmt: skip
