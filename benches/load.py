"""The load generator and the floor: building and calling ``tepal-load``, the Rust program beside us."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping

from benches.loops import ROOT
from benches.model import MeasureError, Metrics
from benches.processes import LOAD_CORE, TEST_CORE, Child

#: What the client is told beside mode and port: words without their dashes, and what follows each.
Options = Mapping[str, float | str]
#: A closed connection is still on its way to the server when the client is done; the server's work for it counts too.
_SETTLE = 0.02


@functools.cache
def binary() -> str:
    """The path of the program, built when it is not up to date. ``TEPAL_LOAD`` names one that was built elsewhere.

    Raises:
        MeasureError: There is no Rust, or it does not compile.
    """
    if ready := os.environ.get("TEPAL_LOAD"):
        return ready
    if not shutil.which("cargo"):
        raise MeasureError("the load generator is written in Rust: cargo is needed (https://rustup.rs)")
    command = [
        "cargo",
        "build",
        "--release",
        "--package",
        "tepal-load",
        "--message-format",
        "json-render-diagnostics",
    ]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    for line in reversed(built.stdout.splitlines()):
        message = json.loads(line)
        if message.get("executable"):
            return str(message["executable"])
    raise MeasureError("the load generator did not build")


def floor(mode: str, parts: int) -> Child:
    """Starts the bare server; its first line is its port."""
    return Child([binary(), mode, "--parts", str(parts)], TEST_CORE)


def client(mode: str, port: int, options: Options) -> Child:
    """Starts a client against the port; it says ``ready`` when it is warm."""
    words: Iterable[str] = (word for name, value in options.items() for word in (f"--{name}", str(value)))
    return Child([binary(), mode, "--port", str(port), *words], LOAD_CORE)


def run(server: Child, mode: str, port: int, options: Options) -> Metrics:
    """Drives a server, and adds what it cost: ``cpu_us`` per request, ``per_second``, ``reads_per_answer``.

    Raises:
        MeasureError: The client did not get what it asked for. A server that ended over it says why.
    """
    with client(mode, port, options) as load:
        try:
            load.read_line()
            before = server.cpu_seconds()
            load.write_line()
            metrics = load.read_metrics()
        except (MeasureError, OSError) as error:
            raise MeasureError(server.ended() or str(error)) from error
        time.sleep(_SETTLE)
        spent = server.cpu_seconds() - before
    requests = metrics["requests"]
    if not requests:
        raise MeasureError("not one request was answered")
    metrics["cpu_us"] = spent / requests * 1e6
    metrics["per_second"] = requests / metrics["seconds"]
    metrics["reads_per_answer"] = metrics.pop("reads") / requests
    metrics["lost_per_million"] = (lost := metrics.pop("lost")) / (requests + lost) * 1e6
    return metrics
