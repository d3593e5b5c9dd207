"""Whole programs under wrk: requests per second with the server on one core and wrk on another, and CPU per request."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator

from benches import certificates
from benches.families.served import Servers
from benches.loops import LAYERS
from benches.model import Case, MeasureError, Metrics, Plan, Row
from benches.processes import LOAD_CORE, TEST_CORE, Child, pinned, python

CONNECTIONS = 64
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


class Programs:
    """uvicorn and aiohttp, each saying hello, in the clear or with a certificate."""

    def __init__(self, prefix: str, key: str | None = None) -> None:
        # In the clear, an HTTP server's rows are about loops; it is for TLS that the layers are laid.
        self.extras: Collection[str] = list(LAYERS) if key else []
        self._prefix = prefix
        self._key = key

    @property
    def missing(self) -> str | None:
        if not shutil.which("wrk"):
            return "wrk is not installed"
        return certificates.missing() if self._key else None

    def cases(self, *, quick: bool) -> list[Case]:
        return [
            Case(
                f"{self._prefix}/{name}",
                (
                    Row(f"{self._prefix}/{name}", "per_second", "requests / s", "higher"),
                    Row(f"{self._prefix}/{name}/cpu", "cpu_us", "µs CPU / request"),
                ),
            )
            for name in ("uvicorn", "aiohttp")
        ]

    @contextlib.contextmanager
    def open(self, plan: Plan) -> Iterator[ProgramSession]:
        words = [str(certificates.certificate(self._key))] if self._key else []
        with contextlib.ExitStack() as stack:
            yield ProgramSession("https" if self._key else "http", words, plan, stack)


class ProgramSession:
    """One round: a server per program and loop, warmed for a second before it is measured."""

    def __init__(self, scheme: str, words: list[str], plan: Plan, stack: contextlib.ExitStack) -> None:
        self._scheme = scheme
        self._words = words
        # wrk's handshakes fall into what is measured, so that lasts longer where there are some.
        self._seconds = (1 if plan.quick else 2) + (scheme == "https")
        self._stack = stack
        self._servers: dict[str, Servers] = {}

    def measure(self, case: Case, loop: str) -> Metrics:
        program = case.id.partition("/")[2]
        servers = self._servers.setdefault(
            program, Servers(lambda name: _start(program, name, self._words), self._stack)
        )
        with servers.lease(loop) as (server, port):
            url = f"{self._scheme}://127.0.0.1:{port}/"
            _wrk(url, 1)
            before = server.cpu_seconds()
            metrics = _wrk(url, self._seconds)
            spent = server.cpu_seconds() - before
        metrics["cpu_us"] = spent / metrics["requests"] * 1e6
        return metrics


def _start(program: str, loop: str, words: list[str]) -> Child:
    return python(f"benches.servers.hello_{program}", loop, *words, core=TEST_CORE)


def _wrk(url: str, seconds: int) -> Metrics:
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "--latency",
        url,
    ]
    with pinned(LOAD_CORE):
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    return parse_wrk(done.stdout)


def parse_wrk(text: str) -> Metrics:
    """Reads wrk's report.

    Raises:
        MeasureError: Requests failed, or there is no report.
    """
    if trouble := re.search(r"Socket errors:.*|Non-2xx.*", text):
        raise MeasureError(f"wrk: {trouble[0]}")
    requests = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    if not requests or not rate or not int(requests[1]):
        raise MeasureError("wrk: not one request was answered")
    metrics = {"requests": float(requests[1]), "per_second": float(rate[1])}
    for share, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", text):
        metrics[f"p{share}_us"] = float(value) * _UNITS[unit]
    return metrics
